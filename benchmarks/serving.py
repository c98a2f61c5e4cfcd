"""Predictions over HTTP: `scoring serve` beside a FastAPI app, MLflow and BentoML, with one model.

Each server is one process on one core, the requests come from another core. Servers are measured in
turn, several times, so that a machine that slows down slows down all of them. Before the load, each
has to answer every request with the model's own predictions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.load import Load, ask, closed_loop, open_loop, post
from benchmarks.peers.servers import Row, Server, ours, peers
from benchmarks.running import Running, free_port, running
from examples.paths import model_path, month_path

VERSION, MONTH = "v2", 12  # the version in force after the job's last month, and what it scores
COLUMNS = ("time_hour", "carrier", "flight", "origin", "dest", "hour", "distance", "dep_delay")
CONNECTIONS = 16
BATCH_ROWS = 100
FLOAT_ERROR = 1e-9  # what a decimal text may lose of a prediction
HOLD_CONNECTIONS = 64
SAMPLE_SECONDS = 5.0
GROWTH = 1.05


@dataclass(frozen=True)
class Shape:
    """Requests of one size: how many are sent before the clock starts, and then."""

    name: str
    rows: int
    distinct: int
    warm_up: int
    count: int


SHAPES = (
    Shape("single_rows", 1, distinct=200, warm_up=200, count=1000),
    Shape("batches", BATCH_ROWS, distinct=20, warm_up=50, count=300),
)


class Bench:
    """The flights, the model's own predictions of them, and the servers."""

    def __init__(self, data: Path, job_file: Path, folder: Path) -> None:
        import skops.io

        from scoring.job.loader import load_job

        subprocess.run(
            [sys.executable, "-m", "examples", "--data", data], check=True, stdout=sys.stderr
        )
        self.folder = folder / "serving"
        self.folder.mkdir(parents=True, exist_ok=True)
        config = load_job(job_file).job.model
        assert config is not None
        self.trusted = config.trusted_types
        self.model = skops.io.load(model_path(data, VERSION), trusted=self.trusted)
        self.rows, self.expected = self._rows(month_path(data, MONTH))
        self.ours = ours(job_file, data)
        self.cores = _cores()

    def _rows(self, flights: Path) -> tuple[list[Row], list[float]]:
        table = pq.read_table(flights, columns=list(COLUMNS))
        table = table.filter(pc.is_valid(table["dep_delay"]))
        table = table.slice(0, max(shape.rows * shape.distinct for shape in SHAPES))
        moments = pc.strftime(
            table["time_hour"].cast(pa.timestamp("s", "UTC")), "%Y-%m-%dT%H:%M:%SZ"
        )
        table = table.set_column(table.column_names.index("time_hour"), "time_hour", moments)
        inputs = table.select(list(self.model.feature_names_in_)).to_pandas()
        return table.to_pylist(), self.model.predict(inputs).tolist()

    def peers(self) -> list[Server]:
        names = list(self.model.feature_names_in_)
        inputs = [{name: row[name] for name in names} for row in self.rows[:BATCH_ROWS]]
        return peers(self.model, inputs, self.trusted, self.folder)

    @contextlib.contextmanager
    def running(self, server: Server) -> Iterator[Running]:
        """Start ``server`` on its core; it ends with the block."""
        port, log = free_port(), self.folder / f"{server.name.replace(' ', '_')}.log"
        command = server.command(port)
        with running(command, port, server.ready, server.environment, log, self.cores[0]) as found:
            yield found

    def requests(self, server: Server, port: int, shape: Shape) -> list[bytes]:
        """Return the distinct requests of ``shape``, each of which ``server`` answers correctly."""
        found = []
        for number in range(shape.distinct):
            part = slice(number * shape.rows, (number + 1) * shape.rows)
            body = json.dumps(server.body(self.rows[part])).encode()
            found.append(post(server.path, port, body))
            status, answer = asyncio.run(ask(port, found[-1]))
            shown = f"error: {server.name} answers {status} {answer[:1000].decode()}"
            if status != 200:
                raise SystemExit(shown)
            predictions = server.predictions(json.loads(answer))
            if not _equal(predictions, self.expected[part]):
                raise SystemExit(f"{shown}\nthe model predicts {self.expected[part]}")
        return found


def run(data: Path, job_file: Path, folder: Path, rounds: int) -> dict[str, object]:
    """Measure all servers in turn, ``rounds`` times; return the figures."""
    bench = Bench(data, job_file, folder)
    servers = [bench.ours, *bench.peers()]
    measured: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
    with _on_core(bench.cores[1]):
        for _ in range(rounds):
            for server in servers:
                print(f"  {server.name} …", file=sys.stderr)
                measured[server.name].append(_measure(bench, server))
    medians = {name: _medians(found) for name, found in measured.items()}
    return {
        "connections": CONNECTIONS,
        "medians": medians,
        "ratio_of_ours": {
            name: _ratios(medians[bench.ours.name], medians[name])
            for name in medians
            if name != bench.ours.name
        },
        "rounds": {name: [_medians([one]) for one in found] for name, found in measured.items()},
    }


def _measure(bench: Bench, server: Server) -> dict[str, Any]:
    with bench.running(server) as found:
        figures: dict[str, Any] = {"start_seconds": found.start_seconds}
        for shape in SHAPES:
            requests = bench.requests(server, found.port, shape)
            for count in (shape.warm_up, shape.count):
                load = asyncio.run(closed_loop(found.port, requests, CONNECTIONS, count))
                load.check(f"{server.name}, {shape.name}")
            figures[shape.name] = _figures(load, shape.rows)
        sizes = found.memory_mb()
        figures |= {"memory_mb": sum(sizes), "largest_process_mb": sizes[0]}
        return figures | {"processes": len(sizes)}


def _figures(load: Load, rows: int) -> dict[str, float]:
    """Return the figures of a load; ``asking_share`` near 1 would be those of the load itself."""
    return {
        "requests_per_second": load.requests_per_second,
        "rows_per_second": load.requests_per_second * rows,
        "p50_ms": load.percentile_ms(50),
        "p99_ms": load.percentile_ms(99),
        "asking_share": load.asking_seconds / load.wall_seconds,
    }


def _medians(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure over ``rounds``."""
    return {
        name: _medians([figures[name] for figures in rounds])
        if isinstance(value, dict)
        else round(median(figures[name] for figures in rounds), 3)
        for name, value in rounds[0].items()
    }


def _ratios(own: Mapping[str, Any], peer: Mapping[str, Any]) -> dict[str, float]:
    """Return our figures divided by a peer's: of the throughput more is better, of the rest less."""
    found = {
        f"{shape.name}_{name}": own[shape.name][name] / peer[shape.name][name]
        for shape in SHAPES
        for name in ("requests_per_second", "p99_ms")
    }
    found |= {name: own[name] / peer[name] for name in ("start_seconds", "memory_mb")}
    return {name: round(ratio, 2) for name, ratio in found.items()}


def hold(data: Path, job_file: Path, folder: Path, minutes: float) -> dict[str, object]:
    """Load our server for ``minutes`` with half the single rows that it can answer.

    Exit with 1 if a request fails, or if the last third needs 5 % more memory than the first.
    """
    bench = Bench(data, job_file, folder)
    shape = SHAPES[0]
    with _on_core(bench.cores[1]), bench.running(bench.ours) as found:
        requests = bench.requests(bench.ours, found.port, shape)
        for _ in range(2):  # the first one warms up
            most = asyncio.run(closed_loop(found.port, requests, CONNECTIONS, shape.count))
            most.check(bench.ours.name)
        rate, started = most.requests_per_second / 2, time.perf_counter()
        load, memory = asyncio.run(_held(found, requests, rate, minutes * 60))
    last = max(0, -int(-minutes // 1) - 1)  # the answers that come after it are counted in it
    by_minute = [_minute(number, last, load, memory, started) for number in range(last + 1)]
    ratio = growth([size for _, size in memory])
    print(json.dumps({"requests_per_second": round(rate, 1), "minutes": by_minute}, indent=2))
    print(f"failures: {len(load.failures)}; memory, last third beside the first: {ratio:.3f}")
    load.check(bench.ours.name)
    if ratio > GROWTH:
        raise SystemExit(f"error: memory grew by {ratio - 1:.1%}")
    return {"requests_per_second": round(rate, 1), "memory_ratio": round(ratio, 3)}


async def _held(
    found: Running, requests: Sequence[bytes], rate: float, seconds: float
) -> tuple[Load, list[tuple[float, float]]]:
    """Return the load, and (when, MB) of the memory during it."""
    memory: list[tuple[float, float]] = []

    async def watch() -> None:
        while True:
            memory.append((time.perf_counter(), found.own_memory_mb()))
            await asyncio.sleep(SAMPLE_SECONDS)

    watching = asyncio.create_task(watch())
    load = await open_loop(found.port, requests, HOLD_CONNECTIONS, rate, seconds)
    watching.cancel()
    return load, memory


def growth(sizes: Sequence[float]) -> float:
    """Return the median of the last third of ``sizes`` divided by that of the first."""
    third = max(1, len(sizes) // 3)
    return median(sizes[-third:]) / median(sizes[:third])


def _minute(
    number: int, last: int, load: Load, memory: Sequence[tuple[float, float]], started: float
) -> dict[str, float]:
    def within(at: float) -> bool:
        return min(last, int((at - started) // 60)) == number

    of_minute = Load(answers=[answer for answer in load.answers if within(answer[0])])
    sizes = [size for at, size in memory if within(at)]
    return {
        "requests": len(of_minute.answers),
        "p50_ms": round(of_minute.percentile_ms(50), 1) if of_minute.answers else 0.0,
        "p99_ms": round(of_minute.percentile_ms(99), 1) if of_minute.answers else 0.0,
        "memory_mb": round(median(sizes), 1) if sizes else 0.0,
    }


def _equal(found: Sequence[float], expected: Sequence[float]) -> bool:
    return len(found) == len(expected) and all(
        abs(one - other) <= FLOAT_ERROR * max(1.0, abs(other))
        for one, other in zip(found, expected, strict=True)
    )


def _cores() -> tuple[int, int]:
    """Return the core of the servers and that of the load, which are two if there are two."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


@contextlib.contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Keep this process on ``core``."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
