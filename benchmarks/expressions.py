"""One month of many rows: the same job with and without derived columns and rows left out.

The job is flight_delay over its month repeated.  The other one computes two of its inputs again, joins
two texts, and leaves rows out for two reasons that no row has: it does the same work on the same rows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.big_month import MONTH, make_job, make_month
from benchmarks.measure import Timed, timed

_DERIVED = """\
  derive:
    distance: "CAST(distance AS DOUBLE)"
    dep_delay: "dep_delay * 1.0"
    route: "origin || '_' || dest"
leave_out:
  a_day_late: "dep_delay > 100000"
  nowhere: "distance < 0"
"""


def run(data: Path, job_file: Path, folder: Path, rows: int, pairs: int) -> dict[str, object]:
    """Measure the plain job and the other one in turn, ``pairs`` times; return the figures."""
    source = make_month(data / "flights/year=2013/month=05/flights.parquet", folder, rows)
    commands = []
    for name in ("plain", "derived"):
        place = folder / "expressions" / name
        place.mkdir(parents=True, exist_ok=True)
        job = make_job(job_file, str(source), place, str(place))
        if name == "derived":
            text = job.read_text(encoding="utf-8")
            text = text.replace("row_id: [", f"{_DERIVED}row_id: [", 1)
            job.write_text(text.replace("keep: [dest]", "keep: [dest, route]"), encoding="utf-8")
        commands.append(
            [sys.executable, "-m", "scoring", "run", str(job), MONTH, "--data", str(data), "--json"]
        )
    measured: list[tuple[Timed, Timed]] = []
    for _ in range(pairs):
        plain, derived = (timed(command) for command in commands)
        _check(json.loads(plain.stdout), json.loads(derived.stdout))
        measured.append((plain, derived))
    ratios = sorted(second.wall_seconds / first.wall_seconds for first, second in measured)
    return {
        "rows": rows,
        "plain": [first.figures() for first, _ in measured],
        "derived": [second.figures() for _, second in measured],
        "ratio_of_time": {"median": ratios[len(ratios) // 2], "all": ratios},
    }


def _check(plain: dict[str, object], derived: dict[str, object]) -> None:
    """Exit unless both scored the same rows: other figures cannot be compared."""
    if plain["rows"] != derived["rows"]:
        raise SystemExit(f"error: {plain['rows']} and {derived['rows']} differ")
