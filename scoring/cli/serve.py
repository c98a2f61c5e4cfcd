"""``serve``: answer requests for predictions over HTTP."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scoring.cli import clock
from scoring.cli import options as shared
from scoring.errors import needs_extra

if TYPE_CHECKING:
    from scoring.serving.settings import Settings

HELP = "answer requests for predictions over HTTP, with the jobs' own models and contracts"


_LIMITS = (
    ("--max-batch", "ROWS", 4096, "rows of waiting requests that are scored together"),
    (
        "--max-queue",
        "ROWS",
        50_000,
        "rows that may wait; beyond, requests are answered 503 with Retry-After",
    ),
    ("--max-rows", "ROWS", 10_000, "rows of one request"),
    ("--max-body-mb", "MB", 16, "size of one request"),
    ("--timeout-seconds", "S", 30, "how long a request may take to arrive, and to be answered"),
    ("--watch-seconds", "S", 5, "how often job files and models are looked at for changes"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_served_jobs(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8001, help="port (%(default)s; 0: a free one)")
    parser.add_argument(
        "--workers",
        type=shared.positive,
        metavar="N",
        default=1,
        help="processes, of which each has the models in memory (%(default)s)",
    )
    tokens = parser.add_mutually_exclusive_group()
    tokens.add_argument(
        "--tokens", metavar="FILE", type=Path, help="file with bearer tokens, one a line"
    )
    tokens.add_argument(
        "--token-connection",
        metavar="ID",
        help="Airflow connection (AIRFLOW_CONN_ID) whose password is the bearer token",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="listen on other addresses than loopback without asking for a token",
    )
    for option, unit, default, what in _LIMITS:
        parser.add_argument(
            option,
            type=shared.positive,
            metavar=unit,
            default=default,
            help=f"{what} (%(default)s)",
        )
    parser.add_argument(
        "--max-wait-ms",
        type=_milliseconds,
        metavar="MS",
        default=2.0,
        help="how long a batch waits for further requests, once several come at a time "
        "(%(default)s)",
    )
    parser.add_argument(
        "--log",
        metavar="URI",
        help="folder, or s3:// URI, for hourly parquet files of requests and answers (default: "
        "none are kept)",
    )
    shared.add_clock_and_data(parser)
    parser.add_argument(
        "--json", action="store_true", help="print where it listens as JSON on stdout"
    )


def command(options: argparse.Namespace) -> int:
    from scoring.serving.shared_counts import shared_counts

    settings = _settings(options)
    with shared_counts(options.workers):
        with needs_extra("serve", "web services"):
            from scoring.serving.server import serve
        return serve(
            settings,
            options.host,
            options.port,
            options.workers,
            options.insecure,
            _print_address if options.json else lambda url: None,
        )


def _print_address(url: str) -> None:
    print(json.dumps({"url": url}), flush=True)


def _settings(options: argparse.Namespace) -> Settings:
    from scoring.serving.auth import token_of_connection, tokens_in_file
    from scoring.serving.settings import Settings

    paths = shared.served_jobs(options)
    tokens = None
    if options.tokens is not None:
        tokens = tokens_in_file(options.tokens)
    elif options.token_connection is not None:
        tokens = token_of_connection(options.token_connection)
    return Settings(
        paths=paths,
        folder=options.jobs,
        clock=partial(clock.at, options.moment) if options.moment else clock.current,
        data=options.data,
        tokens=tokens,
        max_batch=options.max_batch,
        max_wait_ms=options.max_wait_ms,
        max_rows=options.max_rows,
        max_body_bytes=options.max_body_mb << 20,
        max_queue=options.max_queue,
        timeout_seconds=options.timeout_seconds,
        watch_seconds=options.watch_seconds,
        log=options.log,
    )


def _milliseconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000")
    return found
