"""``make bench``: every figure that the project claims, measured here and now.

Prints one JSON document and writes it to ``.run/bench/figures.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    backfill,
    big_month,
    coverage,
    environment,
    expressions,
    parsing,
    picture,
    real_flights,
    scale,
    serving,
    shards,
    shares,
    streaming,
    trees,
)

PARTS = (
    "parsing",
    "backfill",
    "big_month",
    "peers",
    "expressions",
    "environment",
    "shards",
    "coverage",
    "serving",
    "streaming",
    "trees",
    "profile",
)
PAGES = ("picture", "scale")  # what is made from figures, without measuring anything
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "only",
        nargs="*",
        choices=[*PARTS, *PAGES, []],
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=10_000_000,
        help="rows of the big month; 0: `shards` measures the huge one alone",
    )
    parser.add_argument(
        "--huge-rows",
        type=int,
        default=100_000_000,
        help="rows of the huge month of `shards`; 0: none",
    )
    parser.add_argument(
        "--price-of-cpu",
        type=float,
        default=scale.Prices.cpu_hour,
        metavar="USD",
        help="what `scale` takes for an hour of a vCPU",
    )
    parser.add_argument(
        "--price-of-storage",
        type=float,
        default=scale.Prices.gb_month,
        metavar="USD",
        help="what `scale` takes for a GB of storage in a month",
    )
    parser.add_argument(
        "--messages",
        type=int,
        default=2_000_000,
        help="messages during which `streaming` looks at the memory",
    )
    parser.add_argument(
        "--copies", type=int, default=30, help="of each flight, for `peers` and `profile`"
    )
    parser.add_argument(
        "--code", type=Path, default=ROOT, help="the checkout that `profile` looks at"
    )
    parser.add_argument(
        "--once",
        nargs="+",
        default=[],
        choices=("pandas", "MLflow"),
        help="peers of `peers` that are measured once",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each thing is measured")
    parser.add_argument(
        "--hold",
        type=float,
        metavar="MINUTES",
        help="with `serving`: half the load that our server can answer, for so long, and no peers",
    )
    options = parser.parse_args()
    if options.hold is not None and options.only != ["serving"]:
        parser.error("--hold is an option of `serving` alone")
    folder = ROOT / ".run/bench"
    folder.mkdir(parents=True, exist_ok=True)
    predicting = (folder / "airflow-home/data", ROOT / "dags/jobs/flight_delay.yaml", folder)
    parts: dict[str, Callable[[], dict[str, object]]] = {
        "parsing": lambda: parsing.run(ROOT / "dags", folder),
        "backfill": lambda: backfill.run(
            folder / "airflow-home", predicting[1], folder, options.rounds
        ),
        "big_month": lambda: big_month.run(*predicting, options.rows, options.rounds),
        "peers": lambda: real_flights.run(
            *predicting, options.copies, options.rounds, options.once
        ),
        "expressions": lambda: expressions.run(*predicting, options.rows, options.rounds),
        "environment": lambda: environment.run(*predicting, options.rounds),
        "shards": lambda: shards.run(
            folder / "airflow-home/data",
            ROOT / "dags",
            folder,
            options.rows,
            options.huge_rows,
            options.rounds,
        ),
        "coverage": lambda: coverage.run(*predicting, options.rounds),
        "serving": lambda: (
            serving.run(*predicting, options.rounds)
            if options.hold is None
            else serving.hold(*predicting, options.hold)
        ),
        "streaming": lambda: streaming.run(*predicting, options.messages, options.rounds),
        "trees": lambda: trees.run(options.rounds),
        "profile": lambda: shares.run(*predicting, options.copies, options.code),
    }
    file = folder / "figures.json"
    named = [name for name in parts if name in options.only] if options.only else list(parts)
    # A part that is measured again replaces its own figures alone.
    figures = json.loads(file.read_text(encoding="utf-8")) if options.only and file.exists() else {}
    machine = {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_before": [round(load, 2) for load in os.getloadavg()],  # before the first part
    }
    for name in named:
        print(f"measuring {name} …", file=sys.stderr)
        figures[name] = {"machine": machine, **parts[name]()}
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if "huge_month" in figures.get("shards", {}) and "shards" in named:
        scale.keep(figures["shards"])
    if "picture" in options.only:
        picture.run(file)
    if "scale" in options.only:
        scale.run(scale.Prices(options.price_of_cpu, options.price_of_storage))
    print(json.dumps({name: figures[name] for name in named}, indent=2))


if __name__ == "__main__":
    main()
