"""``sample``: some rows of a partition as the model gets them, in a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scoring.cli import options as shared
from scoring.cli import output

HELP = "write some rows of a partition to a file, as the model gets them"

ROWS = 1000
_SUFFIXES = (".parquet", ".csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    shared.add_partition(parser)
    parser.add_argument(
        "--rows",
        metavar="N",
        type=shared.positive,
        default=ROWS,
        help=f"how many, spread over the partition; the same ones each time (default: {ROWS})",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=_file,
        required=True,
        help="write them there: .parquet keeps types and nulls, .csv does not",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the file if it is there already"
    )
    shared.add_model_version(parser)
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.pipeline.sample import check_place, sample, write_sample

    context = shared.partition_context(options, "sample")
    check_place(context, options.out, replace=options.force)  # before all of the source is read
    with output.progress(context.name, options.json, {"read": "read and checked"}) as on_progress:
        found = sample(
            context,
            options.rows,
            options.model_version,
            lambda rows, total: on_progress("read", rows, total),
        )
    write_sample(found.table, options.out, replace=options.force)
    rows = found.table.num_rows
    if options.json:
        facts = {
            "job": context.job.name,
            "partition": context.partition.key,
            "file": str(options.out),
            "rows": rows,
            "rows_to_score": found.rows_to_score,
            "rows_in": found.rows_in,
            "columns": {field.name: str(field.type) for field in found.table.schema},
        }
        print(json.dumps(facts, indent=2))
    else:
        print(
            f"{options.out}: {rows:,} of the {found.rows_to_score:,} rows of {context.name} that are "
            f"to be scored ({found.rows_in:,} came in): {', '.join(found.table.column_names)}"
        )
    return 0


def _file(text: str) -> Path:
    if not text.endswith(_SUFFIXES):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {' or '.join(_SUFFIXES)}")
    return Path(text)
