"""How large a partition may become: a plan for hundreds of millions of rows, from a measured run.

``figures/scale.json`` is what the huge month of `shards` took. All here is computed from it and from the
library's own constants, and nothing is measured. ``python -m benchmarks scale`` writes the tables of
docs/scale.md, between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from scoring.contract.duplicates import BUCKET_BITS, ENTRY, FILE_TIMES, ROWS_IN_MEMORY
from scoring.job.run import RunConfig
from scoring.pipeline.extract import BATCH_ROWS
from scoring.storage.s3.writer import PART_BYTES, part_bytes

FIGURES = Path(__file__).parent / "figures/scale.json"
PAGE = Path(__file__).resolve().parent.parent / "docs/scale.md"
PLANNED = (100_000_000, 1_000_000_000, 10_000_000_000)
WORKERS = (2, 20, 100)  # tasks at a time, a core each
STEPS = ("extract", "score", "upload")

# Airflow's default of core.max_map_length. Its configuration is not asked: the page would depend on it.
MAX_MAP_LENGTH = 1_024
MOST_SHARDS = MAX_MAP_LENGTH // 2  # a partition may grow to twice what was planned
SHARD_ROWS: int = RunConfig.model_fields["shard_rows"].default

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html; that page says 48.8 TiB for an object
# by now, other services still have the 5 TiB that it said before.
S3_PARTS, S3_PART_BYTES, S3_OBJECT_BYTES = 10_000, 5 << 30, 5 << 40
LARGEST_UPLOAD = sum(part_bytes(sent) for sent in range(S3_PARTS))

SMALL_DISK = 20e9  # what a container has for temporary files, if nobody asks for more
SMALL_MEMORY = 1e9
CELERY_SECONDS = 86_400  # Airflow's default of visibility_timeout

Measured = Mapping[str, Any]


@dataclass(frozen=True)
class Prices:
    """In USD: assumptions, as they depend on who sells it."""

    cpu_hour: float = 0.05
    gb_month: float = 0.023


@dataclass(frozen=True)
class Plan:
    """What a partition of ``rows`` takes; times in seconds, sizes in bytes."""

    rows: int
    shard_rows: int
    shards: int
    seconds: Mapping[str, float]
    score_seconds: Mapping[int, float]
    xcoms: float
    largest_xcom: float
    index: int
    index_files: int
    staged: float
    staged_shard: float
    published: float
    parts: tuple[int, ...]
    row_groups: int
    footer: float
    held_of_row_groups: float
    cpu_hours: float


def plan(measured: Measured, rows: int) -> Plan:
    """Return the plan for ``rows``; raise ValueError where they do not fit into one object."""
    shard_rows = recommended_shard_rows(rows)
    shards, every = ceil(rows / shard_rows), rows / measured["rows"]
    groups = shards * ceil(min(rows, shard_rows) / BATCH_ROWS)
    published = measured["published_bytes"] * every
    xcoms, found = measured["xcom_bytes"], measured["shards"]
    staged = measured["staged_bytes_at_the_peak"] * every
    return Plan(
        rows=rows,
        shard_rows=shard_rows,
        shards=shards,
        seconds={step: measured["work_seconds"][step] * every for step in STEPS},
        score_seconds={
            workers: ceil(shards / workers) * _seconds_of_a_shard(measured, shard_rows)
            for workers in WORKERS
        },
        xcoms=(xcoms["extract"] + xcoms["score"]) / found * shards + xcoms["upload"],
        largest_xcom=xcoms["extract"] / found * shards,  # it names all shards
        index=rows * ENTRY.itemsize,
        index_files=index_files(rows),
        staged=staged,
        staged_shard=staged / shards,
        published=published,
        parts=parts(ceil(published)),
        row_groups=groups,
        footer=measured["footer_bytes"] / measured["row_groups"] * groups,
        held_of_row_groups=measured["bytes_held_of_a_row_group"] * groups,
        cpu_hours=sum(measured["cpu_seconds"].values()) * every / 3600,
    )


def recommended_shard_rows(rows: int) -> int:
    """Return the default, or the smallest 1, 2 or 5 times a power of ten that gives few enough shards."""
    needed, power = rows / MOST_SHARDS, 1_000
    while True:
        for times in (1, 2, 5):
            if times * power >= max(needed, SHARD_ROWS):
                return times * power
        power *= 10


def index_files(rows: int) -> int:
    """Return into how many files the row ids of a partition are divided; 0: they stay in memory."""
    if rows <= ROWS_IN_MEMORY:
        return 0
    files = 1 << BUCKET_BITS
    while rows / files > ROWS_IN_MEMORY * FILE_TIMES:
        files <<= BUCKET_BITS
    return files


def parts(size: int) -> tuple[int, ...]:
    """Return the sizes of the parts in which an object is sent to S3."""
    if size > LARGEST_UPLOAD:
        raise ValueError(f"{_size(size)} are more than {S3_PARTS:,} parts")
    found: list[int] = []
    while size > 0:
        found.append(min(size, part_bytes(len(found))))
        size -= found[-1]
    return tuple(found)


def _seconds_of_a_shard(measured: Measured, shard_rows: int) -> float:
    """Return the seconds of a ``score`` task: of its rows, and what Airflow takes to start it."""
    work, shards = measured["work_seconds"]["score"], measured["shards"]
    waves = ceil(shards / measured["workers"])
    around = max(0.0, measured["score_seconds"] / waves - work / shards)
    return float(work / measured["rows"] * shard_rows + around)


def limits(measured: Measured) -> list[tuple[int, str, str]]:
    """Return at how many rows something breaks, what that is, and what to do; the first one first."""
    per_row = {
        step: seconds / measured["rows"] for step, seconds in measured["work_seconds"].items()
    }
    of_group = measured["bytes_held_of_a_row_group"]
    memory_rows = int(SMALL_MEMORY / of_group * BATCH_ROWS)
    slowest = max(per_row["extract"], per_row["upload"])
    published = measured["published_bytes"] / measured["rows"]
    return sorted(
        [
            (
                MAX_MAP_LENGTH * SHARD_ROWS,
                f"the default `run.shard_rows` gives more than {MAX_MAP_LENGTH:,} shards: refused at the "
                "first rows, nothing is published",
                "set `run.shard_rows` as above",
            ),
            (
                int(SMALL_DISK / ENTRY.itemsize),
                f"the row ids need {_size(SMALL_DISK)} of temporary disk on the worker of `extract`: it "
                "fails, nothing is published",
                "a larger disk at `TMPDIR`, or `row_id: row_number`, which needs none",
            ),
            (
                memory_rows,
                f"`upload` holds {_size(SMALL_MEMORY)} of metadata of row groups, and each reader opens a "
                f"footer of {_size(measured['footer_bytes'] / measured['row_groups'] * memory_rows / BATCH_ROWS)}",
                "more memory for `upload`; smaller partitions",
            ),
            (
                int(CELERY_SECONDS / slowest),
                "`extract` or `upload` takes a day: Celery gives the task to a second worker",
                "raise `visibility_timeout` (`celery_broker_transport_options`); smaller partitions",
            ),
            (
                int(LARGEST_UPLOAD / published),
                f"the published file has {_size(LARGEST_UPLOAD)}, which is all {S3_PARTS:,} parts of an "
                "upload: S3 refuses the next one, the old partition stays",
                "smaller partitions",
            ),
        ]
    )


def tables(measured: Measured, prices: Prices = Prices()) -> dict[str, str]:
    """Return the generated parts of the page, by name."""
    return {
        "measured": _measured_table(measured),
        "plan": _plan_table([plan(measured, rows) for rows in PLANNED]),
        "limits": _table(
            ("rows", "what breaks", "what to do"),
            [(_rows(rows), *texts) for rows, *texts in limits(measured)],
        ),
        "cost": _cost(measured, prices),
        "one file": _one_file(measured),
    }


def _measured_table(measured: Measured) -> str:
    machine, rows = measured["machine"], measured["rows"]
    busy = ", while other work shared the machine" if machine["load_before"][0] > 0.5 else ""
    small = "" if rows >= PLANNED[0] else (
        f"**These figures are of a run of {rows:,} rows only**, to try the measurement out: starting and "
        "ending tasks is a large part of them.\n\n"
    )  # fmt: skip
    columns: list[tuple[str, Callable[[str], str]]] = [
        (
            "from the first task's start to the last one's end",
            lambda s: _s(measured[f"{s}_seconds"]),
        ),
        ("the library's work in all tasks", lambda s: _s(measured["work_seconds"][s])),
        ("CPU seconds of all tasks", lambda s: _s(measured["cpu_seconds"][s])),
        (
            "nanoseconds of work a row",
            lambda s: f"{measured['work_seconds'][s] / rows * 1e9:,.0f}",
        ),
        ("largest task", lambda s: f"{measured['largest_task_mb'][s]:,} MB"),
        ("XComs", lambda s: _size(measured["xcom_bytes"][s])),
    ]
    shards, published = measured["shards"], measured["published_bytes"]
    staged, index = measured["staged_bytes_at_the_peak"], measured["row_id_index_bytes"]
    row_groups, footer = measured["row_groups"], measured["footer_bytes"]
    return (
        f"{small}{rows:,} rows in {shards} shards, {measured['workers']} workers with a core each, "
        f"{machine['cores']} cores for everything, Python {machine['python']}, {machine['date']}{busy}.\n\n"
        + _table(
            ("", *(f"`{step}`" for step in STEPS)), [(n, *map(of, STEPS)) for n, of in columns]
        )
        + f"\n{_size(measured['source_bytes'])} of parquet came in, {_size(published)} were published "
        f"({published / rows:.1f} bytes a row, {measured['columns']} columns), at most {_size(staged)} "
        f"were staged ({staged / rows:.1f} bytes a row). The row ids took {_size(index)} of temporary "
        f"disk, the largest XCom {_size(measured['largest_xcom_bytes'])}. The file has {row_groups:,} row "
        f"groups and a footer of {_size(footer)}; `upload` holds "
        f"{_size(measured['bytes_held_of_a_row_group'])} for each of them until its end.\n"
    )


def _plan_table(plans: list[Plan]) -> str:
    with_20 = WORKERS[1]
    lines: list[tuple[str, Callable[[Plan], str]]] = [
        ("`run.shard_rows`", lambda p: f"{p.shard_rows:,}"),
        (f"shards, of {MAX_MAP_LENGTH:,}", lambda p: f"{p.shards:,}"),
        ("`extract`, one task", lambda p: _time(p.seconds["extract"])),
        *(
            (f"`score` with {n} workers", lambda p, n=n: _time(p.score_seconds[n]))  # type: ignore[misc]
            for n in WORKERS
        ),
        ("`upload`, one task", lambda p: _time(p.seconds["upload"])),
        (f"all of it with {with_20} workers", lambda p: _time(_in_all(p, with_20))),
        ("CPU hours", lambda p: f"{p.cpu_hours:,.2f}"),
        ("XComs, the largest one", lambda p: f"{_size(p.xcoms)}, {_size(p.largest_xcom)}"),
        ("temporary disk of `extract`: row ids", lambda p: _size(p.index)),
        (
            "of it files, rows in each",
            lambda p: f"{p.index_files:,}, {_rows(p.rows / p.index_files)}",
        ),
        ("temporary disk of `score` and `upload`: a shard", lambda p: f"< {_size(p.staged_shard)}"),
        ("staged in S3 at the peak", lambda p: _size(p.staged)),
        ("published file", lambda p: _size(p.published)),
        (f"its parts, of {S3_PARTS:,}", lambda p: f"{len(p.parts):,}"),
        ("their sizes", _part_sizes),
        ("its row groups", lambda p: f"{p.row_groups:,}"),
        ("its footer", lambda p: _size(p.footer)),
        ("memory of `upload` for row groups", lambda p: _size(p.held_of_row_groups)),
    ]
    heads = ("rows", *(_rows(p.rows) for p in plans))
    return _table(heads, [(name, *map(of, plans)) for name, of in lines])


def _in_all(of: Plan, workers: int) -> float:
    return of.seconds["extract"] + of.score_seconds[workers] + of.seconds["upload"]


def _part_sizes(of: Plan) -> str:
    largest = max(of.parts)
    return f"{PART_BYTES >> 20} MiB" + (f" to {largest >> 20} MiB" if largest > PART_BYTES else "")


def _cost(measured: Measured, prices: Prices) -> str:
    billion = plan(measured, 1_000_000_000)
    cpu, kept = billion.cpu_hours * prices.cpu_hour, billion.published / 1e9 * prices.gb_month
    return (
        f"A billion rows take {billion.cpu_hours:,.2f} CPU hours. At {prices.cpu_hour:g} USD for an hour of a "
        f"vCPU, which is an assumption, that is **{cpu:,.2f} USD**. The published "
        f"{_size(billion.published)} cost {kept:,.2f} USD a month at {prices.gb_month:g} USD for a GB, an "
        "assumption, too. Workers that wait, Airflow, its database, requests to S3 and what is staged "
        "for some hours are not in it.\n"
    )


def _one_file(measured: Measured) -> str:
    work, rows = measured["work_seconds"], measured["rows"]
    extract, upload = (work[step] / rows * 1e6 for step in ("extract", "upload"))
    return (
        f"Here, a row takes `extract` {extract:.2f} µs and `upload` {upload:.2f} µs. With any number of "
        "workers, several files that are written at the same time would make a partition at most "
        f"{(extract + upload) / extract:.1f} times as fast.\n"
    )


def _table(heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    ruler = "|---" * len(heads) + "|"
    return "\n".join([_line(heads), ruler, *map(_line, lines)]) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(count: float) -> str:
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:,.0f}"


def _size(count: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{_short(count / unit)} {name}"
    return f"{count:,.0f} bytes"


def _time(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{_short(seconds / unit)} {name}"
    return f"{seconds:,.0f} s"


def _s(seconds: float) -> str:
    return f"{seconds:,.1f} s"


def _short(value: float) -> str:
    return (
        f"{value:,.0f}"
        if value >= 20
        else f"{value:.2g}"
        if value < 1
        else f"{value:.1f}".removesuffix(".0")
    )


def fill(text: str, generated: Mapping[str, str]) -> str:
    """Return ``text`` with its generated parts replaced."""
    for name, part in generated.items():
        block = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->\n)"
        text, count = re.subn(
            block, lambda m, p=part: f"{m[1]}\n{p}\n{m[2]}", text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} parts named {name}")
    return text


def keep(shards: Mapping[str, Any]) -> None:
    """Keep what `shards` has measured of its huge month beside the benchmarks."""
    figures = {"machine": shards["machine"], **shards["huge_month"]}
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def run(prices: Prices) -> None:
    """Write the tables of the page."""
    measured = json.loads(FIGURES.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(fill(text, tables(measured, prices)), encoding="utf-8")
