"""What the shell command shows: progress, tables, and the same facts as JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scoring.destinations.manifest import Manifest
from scoring.errors import quoted
from scoring.job.loader import JobFile
from scoring.job.partitions import partitions_between
from scoring.job.schema import Job

if TYPE_CHECKING:
    from scoring.cli.run import Outcome
    from scoring.pipeline.clean import Leftover
    from scoring.pipeline.local import OnProgress
    from scoring.pipeline.rehearsal import Rehearsal

_EXAMPLE_CHARACTERS = 300
_LABELS = {"extract": "read and checked", "upload": "scored and joined"}


@contextlib.contextmanager
def progress(title: str, quiet: bool, labels: Mapping[str, str] = _LABELS) -> Iterator[OnProgress]:
    """Show a progress bar for each step on stderr, unless it is not a terminal or JSON is printed."""
    console = Console(stderr=True)
    bars = Progress(
        TextColumn(f"{title}  {{task.description}}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )
    tasks = {step: bars.add_task(label, total=None) for step, label in labels.items()}

    def on_progress(step: str, rows: int, total: int | None) -> None:
        bars.update(tasks[step], advance=rows, total=total)

    with bars:
        yield on_progress


def manifest(published: Manifest, as_json: bool) -> None:
    """Print one published partition: what, from what, by what, and how the predictions look."""
    if as_json:
        print(published.to_json(), end="")
        return
    rows, table = published.rows, Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("job", published.job)
    table.add_row("partition", published.partition)
    table.add_row("model version", published.model.version)
    if registered := published.model.registered:
        asked = f", asked for as {registered.alias}" if registered.alias else ""
        table.add_row("", f"{registered.name} {registered.number} of the MLflow registry{asked}")
    if inputs := published.model.inputs:
        table.add_row("", f"the contract is its signature: {', '.join(inputs)}")
    for package, release in published.model.accept.items():
        table.add_row("", f"accepted although saved with {package} {release}")
    if environment := published.model.environment:
        packages = environment.get("lock_sha256", "")[:16]
        table.add_row("", f"scored in Python {environment.get('python')}, packages {packages}…")
    table.add_row("rows in", f"{rows.rows_in:,}")
    table.add_row("scored", f"{rows.scored:,}")
    table.add_row("quarantined", f"{rows.quarantined:,}")
    for rule, count in rows.reasons.items():
        table.add_row("", f"{count:,}  {rule}")
    if rows.left_out:
        table.add_row("left out", f"{rows.left_out:,}")
    for reason, count in rows.left_out_reasons.items():
        table.add_row("", f"{count:,}  {reason}")
    for name, figures in published.statistics.items():
        table.add_row(name, _figures(figures))
    if published.difference is not None:
        table.add_row(
            "changed", _difference(published.difference) + " from what was published before"
        )
    for challenger in published.challengers:
        said = (
            challenger.error or f"{_difference(challenger.difference or {})} from these predictions"
        )
        table.add_row("challenger", f"{challenger.version}: {said}")
    table.add_row("predictions", published.output.uri)
    if published.quarantine:
        table.add_row("quarantine", published.quarantine.uri)
    if published.left_out:
        table.add_row("rows left out", published.left_out.uri)
    table.add_row("sha256", published.output.sha256)
    took = published.durations_seconds
    steps = ", ".join(f"{step} {s:.2f} s" for step, s in took.items())
    table.add_row("took", f"{sum(took.values()):.2f} s of work: {steps}")
    for warning in published.warnings:
        table.add_row("warning", warning)
    print_table(table)


def _difference(found: Mapping[str, Any]) -> str:
    """Return how predictions differ, in words."""
    from scoring.monitoring.difference import Difference

    of = Difference.model_validate(found)
    changes = ""
    if of.max_abs_change is not None:
        changes = f", by {_figure(of.mean_change)} on average and {of.max_abs_change:.4g} at most,"
    return f"{of.changed_fraction:.2%} of {of.rows_in_either:,} rows differ{changes}"


def verified(published: Manifest, as_json: bool) -> None:
    if as_json:
        same = {"job": published.job, "partition": published.partition, "same": True}
        print(json.dumps(same | {"sha256": published.output.sha256}))
        return
    print(
        f"{published.job} {published.partition}: scored again with model version "
        f"{published.model.version}, the same {published.output.bytes:,} bytes "
        f"(sha256 {published.output.sha256})"
    )


def no_step(step: str, found: Rehearsal) -> None:
    """Print nothing: JSON is printed at the end."""


def rehearsal_step(step: str, found: Rehearsal) -> None:
    """Print what a step of ``check --deep`` has found, as soon as it has."""
    print(_STEPS[step](found), flush=True)


def rehearsal(job: Job, found: Rehearsal) -> dict[str, Any]:
    """Return what ``check --deep`` has found, as one document."""
    source, model, tally = found.source, found.model, found.tally
    assert source is not None
    assert model is not None
    assert tally is not None
    return {
        "job": job.name,
        "partition": found.partition.key,
        "source": dataclasses.asdict(source),
        "model": {
            "version": model.version,
            "uri": model.uri,
            "sha256": model.sha256,
            "runtime_versions": found.runtime_versions,
            "trees": found.trees,
            "by_position": found.by_position,
        },
        "rows": {
            "in": tally.rows_in,
            "scored": tally.rows_wanted - tally.rows_quarantined,
            "quarantined": tally.rows_quarantined,
            "left_out": tally.rows_left_out,
            "reasons": tally.quarantined,
            "left_out_reasons": tally.left_out,
            "examples": tally.examples,
            "scored_example": found.example and {k: in_json(v) for k, v in found.example.items()},
        },
        "destination": {"uri": found.destination, "writable": True},
    }


def in_json(value: Any) -> Any:
    """Return a value of a row as JSON can have it: moments, and numbers that are not finite, are
    text.
    """
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if finite and isinstance(value, str | int | float | None) else str(value)


def _source_line(found: Rehearsal) -> str:
    source = found.source
    assert source is not None
    facts = [f"{source.rows:,} rows" if source.rows is not None else "rows not counted"]
    if source.files is not None and source.bytes is not None:
        facts.append(f"{source.files:,} file{'s' if source.files != 1 else ''}")
        facts.append(f"{source.bytes:,} bytes")
    return f"source ok: {found.partition.key}, {', '.join(facts)}: {source.uri}"


def _model_line(found: Rehearsal) -> str:
    model = found.model
    assert model is not None
    runtime = "".join(f", {name} {version}" for name, version in found.runtime_versions.items())
    line = f"model ok: {model.version}, sha256 {model.sha256[:16]}…{runtime}: {model.uri}"
    if found.by_position is not None and len(found.by_position) > 1:
        line += (
            "\n  it has no names of its inputs, and gets them in the order of the job file: "
            f"{', '.join(found.by_position)}"
        )
    for kind, by in found.trees.items():
        line += f"\n  trees of {kind}: {by}"
    return line


def _rows_line(found: Rehearsal) -> str:
    tally = found.tally
    assert tally is not None
    scored = tally.rows_wanted - tally.rows_quarantined
    line = f"scored {scored:,} of the first {tally.rows_in:,} rows: {tally.rows_quarantined:,} quarantined"
    if tally.left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.left_out.items())
        line += f", {tally.rows_left_out:,} left out ({reasons})"
    if found.example is not None:
        shown = ", ".join(f"{name}={value}" for name, value in found.example.items())
        line += f"; for example {quoted(shown, _EXAMPLE_CHARACTERS)}"
    return f"{line}\n{tally.summary()}" if tally.quarantined else line


_STEPS: dict[str, Callable[[Rehearsal], str]] = {
    "source": _source_line,
    "model": _model_line,
    "rows": _rows_line,
    "destination": lambda found: f"destination ok: {found.destination} can be written",
}


def cleaned(found: list[Leftover], dry_run: bool, as_json: bool) -> None:
    """Print what was removed, what it took, and what is kept for a run that may still need it."""
    gone = [leftover for leftover in found if not leftover.kept]
    total = sum(leftover.bytes for leftover in gone)
    facts = [
        {"uri": f.uri, "bytes": f.bytes, "why": f.why, "removed": not (f.kept or dry_run)}
        for f in found
    ]
    if as_json:
        print(json.dumps({"bytes": total, "dry_run": dry_run, "found": facts}, indent=2))
        return
    if facts:
        table_of(facts, as_json)
    things = f"{len(gone)} leftover{'' if len(gone) == 1 else 's'}, {total:,} bytes"
    print(f"{things}: nothing was removed (--dry-run)" if dry_run else f"{things} removed")


def jobs(found: list[tuple[JobFile, list[Manifest]]], as_json: bool) -> None:
    """Print every job: its partitions, its model versions and how many partitions are published."""
    facts: list[dict[str, Any]] = [
        {
            "job": file.job.name,
            "partition": file.job.partition,
            "start": file.job.start,
            "end": file.job.end,
            "model_versions": file.job.version_names,
            "published": len(published),
            "file": str(file.path),
        }
        for file, published in found
    ]
    table_of(facts, as_json)


def partitions(job: Job, published: list[Manifest], as_json: bool) -> None:
    """Print every partition of a job up to its end (else up to the last published one), in order."""
    of_key = {m.partition: m for m in published}
    last = job.last_partition or (job.parse(published[-1].partition) if published else None)
    keys = [p.key for p in partitions_between(job.first_partition, last)] if last else []
    facts = [_partition_facts(key, of_key.get(key), job) for key in keys]
    if not facts and not as_json:
        print(f"nothing is published for {job.name} yet")
        return
    table_of(facts, as_json)


def outcomes(found: list[Outcome], as_json: bool, done: str = "published") -> None:
    """Print what became of each partition of a range, one line each; ``done`` is the state of one
    that was scored.
    """
    table_of([_outcome_facts(outcome, done) for outcome in found], as_json)


def _outcome_facts(outcome: Outcome, done: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"partition": outcome.partition.key}
    if outcome.error is not None:
        return facts | {"state": "failed", "error": str(outcome.error).partition("\n")[0]}
    assert outcome.manifest is not None
    rows, took = outcome.manifest.rows, outcome.manifest.durations_seconds
    return facts | {
        "state": "published before" if outcome.skipped else done,
        "model_version": outcome.manifest.model.version,
        "rows_in": rows.rows_in,
        "scored": rows.scored,
        "quarantined": rows.quarantined,
        "left_out": rows.left_out,
        "seconds_of_work": None if outcome.skipped else round(sum(took.values()), 2),
    }


def _partition_facts(key: str, published: Manifest | None, job: Job) -> dict[str, Any]:
    if published is None:
        return {"partition": key, "state": "missing"}
    return {
        "partition": key,
        "state": "published",
        "model_version": published.model.version,
        "rows_in": published.rows.rows_in,
        "scored": published.rows.scored,
        "quarantined": published.rows.quarantined,
        "left_out": published.rows.left_out,
        "mean": published.statistics.get(job.output.prediction, {}).get("mean"),
    }


def _figures(figures: dict[str, Any]) -> str:
    if "mean" in figures:
        median = figures["quantiles"]["0.5"]
        return (
            f"mean {_figure(figures['mean'])}, median about {median:.4g}, std "
            f"{_figure(figures['std'])}, from {figures['min']:.4g} to {figures['max']:.4g}"
        )
    return ", ".join(f"{label}: {count:,}" for label, count in figures.get("classes", {}).items())


def _figure(value: float | None) -> str:
    return "too large to say" if value is None else f"{value:.4g}"


def table_of(facts: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    names = list(dict.fromkeys(name for row in facts for name in row))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        numeric = any(isinstance(row.get(name), int | float) for row in facts)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in facts:
        table.add_row(*(_cell(row.get(name)) for name in names))
    print_table(table)


def print_table(table: Table) -> None:
    """Print texts as they are; in a file or a pipe in full, however long the lines become."""
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        unbounded = console.options.update(max_width=1 << 20)
        console.width = console.measure(table, options=unbounded).maximum
    console.print(table)


def figure(value: float | None) -> str:
    """Return a number for a table, with five digits; nothing where there is none."""
    return "" if value is None else f"{value:.5g}"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
