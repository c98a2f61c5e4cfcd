"""``verify``: score a published partition again and compare it byte by byte."""

from __future__ import annotations

import argparse

from scoring.cli import options as shared
from scoring.cli import output

HELP = "score a published partition again and compare it byte by byte"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    shared.add_partition(parser)
    shared.add_workers(parser)
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.pipeline.verify import verify_partition

    context = shared.partition_context(options, "verify")
    with output.progress(context.name, options.json) as on_progress:
        manifest = verify_partition(context, options.workers, on_progress)
    output.verified(manifest, options.json)
    return 0
