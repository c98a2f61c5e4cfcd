"""One shard of a million rows: scored by this Python, and in a child process of an environment.

The environment has the same Python and the same releases, so both do the same work and must give
the same bytes. It is built before anything is measured.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.big_month import MONTH, make_job, make_month
from benchmarks.measure import Timed, timed

ROWS = 1_000_000


def run(data: Path, job_file: Path, folder: Path, pairs: int) -> dict[str, object]:
    """Measure both in turn, ``pairs`` times; return the figures."""
    source = make_month(data / "flights/year=2013/month=05/flights.parquet", folder, ROWS)
    jobs = []
    for name in ("here", "child"):
        place = folder / "environment" / name
        place.mkdir(parents=True, exist_ok=True)
        jobs.append(make_job(job_file, str(source), place, str(place)))
    _give_environment(jobs[1])
    scoring = [sys.executable, "-m", "scoring"]
    timed([*scoring, "env", str(jobs[1])])
    measured: list[tuple[Timed, Timed]] = []
    for _ in range(pairs):
        command = [*scoring, "run", "--data", str(data), "--json"]
        here, child = (timed([*command, str(job), MONTH]) for job in jobs)
        measured.append((here, child))
        _check(json.loads(here.stdout), json.loads(child.stdout))
    scores = sorted(_score(child) / _score(here) for here, child in measured)
    whole = sorted(child.wall_seconds / here.wall_seconds for here, child in measured)
    return {
        "rows": ROWS,
        "here": [here.figures() | {"score_seconds": _score(here)} for here, _ in measured],
        "child": [child.figures() | {"score_seconds": _score(child)} for _, child in measured],
        "ratio_of_score": {"median": scores[len(scores) // 2], "all": scores},
        "ratio_of_time": {"median": whole[len(whole) // 2], "all": whole},
    }


def _give_environment(job: Path) -> None:
    """Let every version of ``job`` be scored in a copy of this environment."""
    python = ".".join(platform.python_version_tuple()[:2])
    pins = [f"{name}=={version(name)}" for name in ("scikit-learn", "skops", "numpy", "pandas")]
    value = json.dumps(
        {"python": python, "requirements": [*pins, f"pyarrow=={version('pyarrow')}"]}
    )
    text = job.read_text(encoding="utf-8")
    job.write_text(text.replace("in_force_from:", f"environment: {value}, in_force_from:"))


def _score(run: Timed) -> float:
    seconds: float = json.loads(run.stdout)["durations_seconds"]["score"]
    return seconds


def _check(here: dict[str, dict[str, str]], child: dict[str, dict[str, str]]) -> None:
    """Exit unless both published the same bytes: other figures cannot be compared."""
    if here["output"]["sha256"] != child["output"]["sha256"]:
        raise SystemExit("error: the predictions of the two differ")
