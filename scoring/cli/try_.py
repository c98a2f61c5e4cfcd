"""``try``: the first rows of a partition one by one, with what becomes of each."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scoring.cli import options as shared
from scoring.cli import output
from scoring.errors import quoted

if TYPE_CHECKING:
    from scoring.pipeline.context import PartitionContext
    from scoring.pipeline.trial import Trial, TriedRow

HELP = "score the first rows of a partition, and show what becomes of each; nothing is published"

ROWS = 5
_SHOWN_CHARACTERS = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    shared.add_partition(parser)
    parser.add_argument(
        "--rows",
        metavar="N",
        type=shared.positive,
        default=ROWS,
        help=f"how many rows, from the source's first one on (default: {ROWS})",
    )
    shared.add_model_version(parser)
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.pipeline.trial import try_rows

    context = shared.partition_context(options, "try")
    found = try_rows(context, options.rows, options.model_version)
    if options.json:
        print(json.dumps(_document(context, found), indent=2))
    else:
        for row in found.rows:
            print("\n".join(_lines(row)))
        print(_summary(context, found))
    return 0


def _document(context: PartitionContext, found: Trial) -> dict[str, Any]:
    return {
        "job": context.job.name,
        "partition": context.partition.key,
        "source": found.source,
        "model": {
            "version": found.model.version,
            "uri": found.model.uri,
            "sha256": found.model.sha256,
        },
        "seconds": found.seconds,
        "rows": [
            {
                name: output.in_json(value) if not isinstance(value, dict) else _in_json(value)
                for name, value in asdict(row).items()
            }
            for row in found.rows
        ],
    }


def _in_json(values: dict[str, Any]) -> dict[str, Any]:
    return {name: output.in_json(value) for name, value in values.items()}


def _lines(row: TriedRow) -> list[str]:
    about = f" in {row.column}" if row.column else ""
    why = f": {row.reason}{about}" if row.reason else ""
    value = f" ({quoted(row.value, _SHOWN_CHARACTERS)})" if row.value is not None else ""
    ids = f"  {_pairs(row.ids)}" if row.ids else ""
    lines = [f"row {row.row}{ids}  {row.status.replace('_', ' ')}{why}{value}"]
    for label, values in (
        ("inputs", row.inputs),
        ("derived", row.derived),
        ("outputs", row.outputs),
    ):
        if values:
            lines.append(f"  {label:<8} {_pairs(values)}")
    return lines


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{quoted(name, _SHOWN_CHARACTERS)}={quoted(str(value), _SHOWN_CHARACTERS)}"
        for name, value in values.items()
    )


def _summary(context: PartitionContext, found: Trial) -> str:
    count = len(found.rows)
    if not count:
        return f"{context.name}: {found.source} has 0 rows"
    each = found.seconds / count * 1000
    return (
        f"{context.name}, model version {found.model.version}: {count:,} "
        f"row{'s' if count > 1 else ''} checked and scored in {found.seconds * 1000:.1f} ms, "
        f"{each:.2f} ms a row (a run takes up to 131,072 together, so far less for each). Nothing "
        "was published"
    )
