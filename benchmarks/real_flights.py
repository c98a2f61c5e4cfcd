"""Ten million real flights in one go: `scoring run` beside Dask, a script with pandas, and MLflow.

All 336,776 flights that left New York in 2013, a file for each month, repeated; a text `id` keeps the rows
distinct. Each program reads the twelve files, leaves out the flights without a departure delay,
predicts, and writes parquet with id, prediction and destination. Ours does that as it always does:
with checks of the contract and of the ids, a file of what could not be scored, and the publication.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from benchmarks.measure import ONE_OPENMP_THREAD, Timed, memory, timed
from benchmarks.peers.environments import environment
from benchmarks.peers.outputs import check_same, read
from examples.paths import MONTHS, model_path, month_path

PEERS = Path(__file__).parent / "peers"
VERSION, PARTITION = "v1", "2013-12"
DASK = {
    "Dask, threads": ("threads", {}),
    "Dask, threads, one of OpenMP": ("threads", ONE_OPENMP_THREAD),
    "Dask, processes": ("processes", ONE_OPENMP_THREAD),
    "Dask, LocalCluster": ("cluster", ONE_OPENMP_THREAD),  # its workers' own default, too
}


@dataclass(frozen=True)
class Program:
    """What is run, and the folder of the parquet files that it writes."""

    name: str
    command: Sequence[str]
    target: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> list[Path]:
        return sorted(self.target.glob("*.parquet"))

    def clear(self) -> None:
        shutil.rmtree(self.target, ignore_errors=True)

    def timed(self) -> Timed:
        self.clear()
        return timed(self.command, self.environment)


def run(
    data: Path, job_file: Path, folder: Path, copies: int, pairs: int, once: Sequence[str] = ()
) -> dict[str, object]:
    """Measure ours and each peer in turn, ``pairs`` times, or once if its name is in ``once``."""
    make_examples(data)
    place = folder / "peers"
    flights = make_flights(data, place, copies)
    ours = _ours(data, job_file, place, flights)
    dask, *others = _peers(data, job_file, place, flights)
    rows = sum(pq.read_metadata(file).num_rows for file in flights.glob("*.parquet"))
    _say(ours.name)
    counts = json.loads(ours.timed().stdout)["rows"]
    expected = read(ours.files(), ["id"])
    if counts["in"] != rows or counts["scored"] != len(expected):
        raise SystemExit(f"error: {rows} rows, of which scoring says {counts}")
    choices = {one.name: _measured(one, expected) for one in dask}
    fastest = min(dask, key=lambda one: choices[one.name].wall_seconds)
    found: dict[str, list[tuple[Timed, Timed]]] = {}
    peers = [fastest, *others]
    for number in range(pairs):
        for peer in peers:
            if number == 0 or peer.name not in once:
                pair = (_measured(ours, expected), _measured(peer, expected))
                found.setdefault(peer.name, []).append(pair)
    first = [one for all_pairs in found.values() for one, _ in all_pairs]
    return {
        "rows": rows,
        "predicted": len(expected),
        "choices_of_dask": {name: one.figures() for name, one in choices.items()},
        "programs": {
            ours.name: figures(first, ours),
            **{peer.name: figures([p for _, p in found[peer.name]], peer) for peer in peers},
        },
        "ratio_of_time": {name: ratios(of_peer) for name, of_peer in found.items()},
        "ratio_of_cpu": {name: ratios(of_peer, "cpu_seconds") for name, of_peer in found.items()},
    }


def ours(data: Path, job_file: Path, folder: Path, copies: int) -> Program:
    """Return `scoring run` of the flights; they and the model are made, if they are not there."""
    make_examples(data)
    place = folder / "peers"
    return _ours(data, job_file, place, make_flights(data, place, copies))


def make_examples(data: Path) -> None:
    examples = [sys.executable, "-m", "examples", "--data", data]
    subprocess.run(examples, check=True, stdout=sys.stderr)


def figures(measured: Sequence[Timed], program: Program) -> dict[str, Any]:
    """Return the medians of ``measured``, all of them, and the memory of one more run."""
    _say(f"{program.name}, memory")
    program.clear()
    found = memory(program.command, program.environment).figures()
    return medians([one.figures() for one in measured]) | found


def medians(measured: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    middle = {name: round(median(one[name] for one in measured), 2) for name in measured[0]}
    return {**middle, "all": list(measured)}


def ratios(
    pairs: Sequence[tuple[Timed, Timed]], seconds: str = "wall_seconds"
) -> dict[str, object]:
    """Return ours divided by the peer's that followed it."""
    found = sorted(round(getattr(one, seconds) / getattr(peer, seconds), 3) for one, peer in pairs)
    return {"median": round(median(found), 3), "all": found}


def make_flights(data: Path, place: Path, copies: int) -> Path:
    """Write the repeated months, if they are not there; return their folder."""
    folder = place / f"flights-{copies}"
    for month in MONTHS:
        file = folder / f"2013-{month:02d}.parquet"
        if file.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        flights = pq.read_table(month_path(data, month), partitioning=None)
        parts = [
            pc.strftime(flights["time_hour"], "%Y-%m-%dT%H:%M"),
            flights["carrier"],
            flights["flight"].cast(pa.string()),
            flights["origin"],
        ]
        tables = [
            flights.add_column(0, "id", pc.binary_join_element_wise(*parts, f"{copy:04d}", "-"))
            for copy in range(copies)
        ]
        unfinished = file.with_suffix(".tmp")
        pq.write_table(pa.concat_tables(tables), unfinished, compression="zstd")
        unfinished.rename(file)
    return folder


def save_models(data: Path, job_file: Path, folder: Path, versions: Sequence[str]) -> None:
    """Save the models for the peers, who load joblib files as most people do."""
    import skops.io

    trusted = _trusted(job_file)
    for version in versions:
        model = skops.io.load(model_path(data, version), trusted=trusted)
        joblib.dump(model, folder / f"{version}.joblib")


def _ours(data: Path, job_file: Path, place: Path, flights: Path) -> Program:
    """Return `scoring run` of the flight_delay job with the twelve files as its one partition."""
    job = yaml.safe_load(job_file.read_text(encoding="utf-8"))
    target = place / "scoring"
    version = next(v for v in job["model"]["versions"] if v["version"] == VERSION)
    job |= {
        "name": "real_flights",
        "start": PARTITION,
        "end": PARTITION,
        "source": {"uri": f"{flights}/*.parquet"},
        "row_id": ["id"],
        "destination": {"uri": str(target)},
    }
    job["model"]["versions"] = [version | {"in_force_from": PARTITION}]
    del job["actuals"]
    path = place / "real_flights.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
    run = ["-m", "scoring", "run", str(path), PARTITION, "--data", str(data), "--json"]
    return Program("scoring run", [sys.executable, *run], target / f"month={PARTITION}")


def _peers(
    data: Path, job_file: Path, place: Path, flights: Path
) -> tuple[list[Program], Program, Program]:
    """Return all ways to use Dask, the script with pandas, and MLflow."""
    save_models(data, job_file, place, [VERSION])
    model = place / f"{VERSION}.joblib"
    python = {name: str(environment(name, place) / "bin/python") for name in ("dask", "mlflow")}

    def program(name: str, script: str, python: str, model: Path, *options: str) -> Program:
        target = place / f"output-{Path(script).stem}"
        paths = [PEERS / script, model, flights, target]
        return Program(name, [python, *map(str, paths), *options], target)

    dask = [
        replace(program(name, "dask_month.py", python["dask"], model, scheduler), environment=more)
        for name, (scheduler, more) in DASK.items()
    ]
    saved = _save_for_mlflow(python["mlflow"], job_file, place, flights)
    return (
        dask,
        program("pandas", "pandas_month.py", sys.executable, model),
        program("MLflow", "mlflow_month.py", python["mlflow"], saved),
    )


def _save_for_mlflow(python: str, job_file: Path, place: Path, flights: Path) -> Path:
    saved, rows_file, model = place / "mlmodel", place / "rows.json", place / f"{VERSION}.joblib"
    shutil.rmtree(saved, ignore_errors=True)
    names = list(joblib.load(model).feature_names_in_)
    rows = pq.read_table(next(flights.glob("*.parquet")), columns=names).slice(0, 100)
    rows_file.write_text(json.dumps(rows.to_pylist()))
    save = [PEERS / "mlflow_model.py", model, rows_file, saved, *_trusted(job_file)]
    timed([python, *map(str, save)])
    return saved


def _trusted(job_file: Path) -> list[str]:
    trusted = yaml.safe_load(job_file.read_text(encoding="utf-8"))["model"]["trusted_types"]
    return list(trusted)


def _measured(program: Program, expected: pa.Table) -> Timed:
    _say(program.name)
    found = program.timed()
    check_same(program.name, expected, read(program.files(), ["id"]))
    return found


def _say(name: str) -> None:
    print(f"  {name} …", file=sys.stderr)
