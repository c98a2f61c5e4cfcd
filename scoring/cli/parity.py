"""``parity``: send the rows of a published partition to a service or a stream, and compare its answers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scoring.cli import options as shared
from scoring.cli import output
from scoring.errors import ScoringError, ServiceError, needs_extra

if TYPE_CHECKING:
    from scoring.serving.parity.months import Parity
    from scoring.serving.parity.peer import PeerOptions

HELP = "compare the answers of a scoring service or stream with a published partition, bit by bit"

_STEPS = {"parity": "asked and compared"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    shared.add_partition(parser)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument(
        "--url",
        metavar="URL",
        type=_url,
        help="where the service is, such as http://localhost:8000",
    )
    asked.add_argument(
        "--stream",
        metavar="ADDRESS",
        help="the topic that `scoring stream` reads, such as kafka://broker:9092/flights",
    )
    parser.add_argument(
        "--to", metavar="ADDRESS", help="with --stream: the topic of the stream's results"
    )
    parser.add_argument(
        "--dead-letters",
        metavar="ADDRESS",
        help="with --stream: the topic of messages without a prediction (default: as for the stream)",
    )
    parser.add_argument(
        "--connection-id",
        metavar="ID",
        help="with --stream: Airflow connection of the type kafka (AIRFLOW_CONN_ID)",
    )
    parser.add_argument(
        "--to-connection-id",
        metavar="ID",
        help="the same for --to and --dead-letters (default: --connection-id)",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="a file with the service's token (default: no token is sent)",
    )
    parser.add_argument(
        "--arrow",
        action="store_true",
        help="send and get Arrow streams (default: JSON; a source of CSV files is sent as CSV)",
    )
    parser.add_argument(
        "--rows-per-request",
        metavar="N",
        type=shared.positive,
        default=1_000,
        help="rows of a request (default: 1000)",
    )
    parser.add_argument(
        "--connections",
        metavar="N",
        type=shared.positive,
        default=4,
        help="requests at the same time (default: 4)",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        type=Path,
        help="also write what was compared, and the differences, to a JSON file",
    )
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.serving.parity.months import compare_with

    if options.report and not options.report.absolute().parent.is_dir():
        raise ScoringError(f"the folder of --report {options.report} does not exist")
    context = shared.partition_context(options, "parity")
    peer = _stream(options) if options.stream else _service(options)
    with output.progress(context.name, options.json, _STEPS) as on_progress:
        found = compare_with(context, peer, lambda rows, total: on_progress("parity", rows, total))
    report = found.to_json()
    if options.report:
        options.report.write_text(json.dumps(report, indent=2) + "\n")
    if options.json:
        print(json.dumps(report, indent=2), flush=True)
    found.check()
    if not options.json:
        _print(found, report["rows"])
    return 0


def _service(options: argparse.Namespace) -> PeerOptions:
    from scoring.serving.parity.service import ServiceOptions

    return ServiceOptions(
        url=options.url,
        token=_token(options.token_file),
        arrow=options.arrow,
        rows_per_request=options.rows_per_request,
        connections=options.connections,
    )


def _stream(options: argparse.Namespace) -> PeerOptions:
    from scoring.serving.stream.address import parse_address

    with needs_extra("stream", "streams"):
        from scoring.serving.parity.stream import StreamOptions
    if options.to is None:
        raise ScoringError("--stream needs --to, the topic of the stream's results")
    results = parse_address(options.to, template=True)
    dead = options.dead_letters
    return StreamOptions(
        source=parse_address(options.stream),
        results=results,
        dead_letters=parse_address(dead, template=True) if dead else results.dead_letters(),
        connection=options.connection_id,
        results_connection=options.to_connection_id,
        arrow=options.arrow,
        rows_per_request=options.rows_per_request,
        connections=options.connections,
    )


def _print(found: Parity, rows: dict[str, Any]) -> None:
    manifest = found.manifest
    print(
        f"{found.name}: {found.url} answers {rows['in']:,} rows as they are published with model "
        f"version {manifest.model.version}: {rows['scored']:,} scored with the same bits in "
        f"{', '.join(found.columns)}, {rows['quarantined']:,} quarantined, {rows['left_out']:,} left "
        "out"
    )
    if rows["duplicate_row_id"]:
        print(
            f"{rows['duplicate_row_id']:,} rows were not compared: they are quarantined because "
            "they repeat the id of an earlier row, which a service does not know"
        )
    if found.source_changed:
        print(
            f"the bytes of the source {found.source.uri} have changed since the partition was "
            "published; the answers are those that were published"
        )


def _token(path: Path | None) -> str | None:
    """Return the token in the file at ``path``, which is never shown; ServiceError if it has none."""
    if path is None:
        return None
    text = path.read_text(errors="replace").strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ServiceError(
            f"{path} has no token: it is to hold one line of letters, without spaces"
        )
    return text


def _url(text: str) -> str:
    """Return an option's URL of a service."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL like http://localhost:8000")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(
            "a URL of a service has neither a password nor parameters; a token is given by "
            "--token-file"
        )
    return text
