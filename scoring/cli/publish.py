"""``publish``: publish a partition that is held."""

from __future__ import annotations

import argparse
import getpass

from scoring.cli import options as shared
from scoring.cli import output

HELP = "publish a partition that is held: for drift, or for what it changes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    shared.add_partition(parser)
    parser.add_argument(
        "--accept",
        required=True,
        type=_reason,
        metavar="WHY",
        help="why it is right all the same; it is kept in the manifest, with your name",
    )
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.pipeline.publish import publish_held

    context = shared.partition_context(options, "publish")
    output.manifest(publish_held(context, options.accept, getpass.getuser()), options.json)
    return 0


def _reason(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("say why")
    return text.strip()
