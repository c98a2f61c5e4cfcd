"""``stream``: score the messages of a Kafka topic, each job as a consumer group of its own."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from scoring.cli import clock
from scoring.cli import options as shared
from scoring.errors import StreamError, needs_extra

if TYPE_CHECKING:
    from scoring.serving.stream.settings import StreamSettings
    from scoring.serving.stream.status import StreamStatus

HELP = "score the messages of a Kafka topic, each job as a consumer group of its own"

_LOG_SECONDS = 10.0
_LIVE_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_served_jobs(parser)
    topics = parser.add_argument_group(
        "topics", "kafka://HOST:PORT/TOPIC; in those that are written, {job} is the job's name"
    )
    topics.add_argument(
        "--from", dest="source", metavar="ADDRESS", required=True, help="the topic that is read"
    )
    topics.add_argument("--to", metavar="ADDRESS", help="the topic of the results")
    topics.add_argument(
        "--dead-letters",
        metavar="ADDRESS",
        help="the topic of messages without a prediction, at the brokers of --to (default: that of "
        "--to, with .dead-letters at the end of its name)",
    )
    topics.add_argument(
        "--connection-id",
        metavar="ID",
        help="Airflow connection of the type kafka (AIRFLOW_CONN_ID), whose extra has librdkafka's "
        "settings: brokers, SASL, TLS",
    )
    topics.add_argument(
        "--to-connection-id",
        metavar="ID",
        help="the same for --to and --dead-letters (default: --connection-id)",
    )
    parser.add_argument(
        "--format",
        choices=("json", "arrow", "csv"),
        default="json",
        help="what the values of the messages are: one row each (%(default)s)",
    )
    parser.add_argument(
        "--version",
        metavar="V",
        help="score with this version in a group of its own (default: the one in force, and each "
        "challenger into topics with .challenger.VERSION at the end of their names)",
    )
    parser.add_argument("--no-challengers", action="store_true", help="leave challengers out")
    parser.add_argument(
        "--group",
        metavar="PREFIX",
        default="scoring",
        help="how the names of the consumer groups begin, such as PREFIX.JOB (%(default)s)",
    )
    parser.add_argument(
        "--start",
        choices=("earliest", "latest"),
        default="earliest",
        help="where a group begins that has committed nothing yet (%(default)s)",
    )
    parser.add_argument(
        "--until-end", action="store_true", help="end when all messages are scored that are there"
    )
    parser.add_argument(
        "--transactional",
        action="store_true",
        help="results and offsets in one transaction, for consumers with isolation.level="
        "read_committed",
    )
    parser.add_argument(
        "--max-batch",
        type=shared.positive,
        metavar="ROWS",
        default=4096,
        help="messages that are scored together (%(default)s)",
    )
    parser.add_argument(
        "--max-wait-ms",
        type=shared.positive,
        metavar="MS",
        default=100,
        help="how long a batch waits for messages (%(default)s)",
    )
    parser.add_argument(
        "--archive",
        metavar="URI",
        help="folder, or s3:// URI, for the messages as hourly parquet files, written by a group of "
        "its own; without --to, nothing is scored",
    )
    parser.add_argument(
        "--archive-seconds",
        type=shared.positive,
        metavar="S",
        default=60,
        help="how often files of the archive are written (%(default)s)",
    )
    parser.add_argument(
        "--watch-seconds",
        type=shared.positive,
        metavar="S",
        default=5,
        help="how often job files and models are looked at for changes (%(default)s)",
    )
    metrics = parser.add_argument_group("metrics")
    metrics.add_argument(
        "--metrics-port",
        type=_port,
        metavar="PORT",
        help="port for GET /metrics (Prometheus), /healthz and /readyz (0: a free one; default: none)",
    )
    metrics.add_argument(
        "--metrics-host", default="127.0.0.1", metavar="HOST", help="its address (%(default)s)"
    )
    metrics.add_argument(
        "--metrics-tokens", metavar="FILE", type=Path, help="file with bearer tokens, one a line"
    )
    metrics.add_argument(
        "--insecure",
        action="store_true",
        help="answer on other addresses than loopback without asking for a token",
    )
    shared.add_clock_and_data(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the state of all groups on stdout, one JSON document a line, whenever it changes",
    )


def command(options: argparse.Namespace) -> int:
    settings = _settings(options)
    with needs_extra("stream", "streams"):
        from scoring.serving.stream.metrics import exposing
        from scoring.serving.stream.service import stream
    _log_to_stderr()
    asked: list[int] = []  # not an Event: a signal may come while this thread holds its lock
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    tokens = _tokens(options.metrics_tokens)
    with (
        exposing(options.metrics_host, options.metrics_port, tokens, options.insecure) as metrics,
        _shown(options.json) as show,
    ):

        def on_status(statuses: list[StreamStatus]) -> None:
            metrics(statuses)
            show(statuses)

        stream(settings, lambda: bool(asked), on_status, on_status)
    return 0


@contextlib.contextmanager
def _shown(as_json: bool) -> Iterator[Callable[[list[StreamStatus]], None]]:
    """Yield what shows statuses: as JSON, as live lines in a terminal, or now and then in the log."""
    if as_json:
        yield _json_lines()
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _logged()
        return
    rates = _Rates()
    with Live(console=console, auto_refresh=False, transient=False) as live:
        last = 0.0

        def show(statuses: list[StreamStatus]) -> None:
            nonlocal last
            if time.monotonic() - last >= _LIVE_SECONDS or not any(s.running for s in statuses):
                last = time.monotonic()
                live.update(_table(statuses, rates), refresh=True)

        yield show


class _Rates:
    """Messages a second of each group, since it was asked last."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def __call__(self, status: StreamStatus) -> float:
        now = time.monotonic()
        moment, count = self._last.get(status.group, (now, status.total))
        self._last[status.group] = now, status.total
        return (status.total - count) / (now - moment) if now > moment else 0.0


def _table(statuses: list[StreamStatus], rates: _Rates) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("group", "version"):
        table.add_column(name)
    for name in ("messages/s", "lag", "scored", "left out", "dead letters"):
        table.add_column(name, justify="right")
    table.add_column("problem", style="red", overflow="fold")
    for status in statuses:
        table.add_row(
            status.group,
            status.version or "",
            f"{rates(status):,.0f}",
            f"{status.total_lag:,}",
            f"{status.counts['scored']:,}",
            f"{status.counts['left_out']:,}",
            f"{status.dead:,}",
            status.trouble or (f"{status.lost:,} messages lost" if status.lost else ""),
        )
    return table


def _logged() -> Callable[[list[StreamStatus]], None]:
    rates, last = _Rates(), 0.0
    log = logging.getLogger("scoring.stream")

    def show(statuses: list[StreamStatus]) -> None:
        nonlocal last
        ended = not any(status.running for status in statuses)
        if time.monotonic() - last < _LOG_SECONDS and not ended:
            return
        last = time.monotonic()
        for status in statuses:
            log.info(
                "%s: version %s, %.0f messages/s, lag %s, %s scored, %s left out, %s dead letters%s",
                status.group,
                status.version,
                rates(status),
                f"{status.total_lag:,}",
                f"{status.counts['scored']:,}",
                f"{status.counts['left_out']:,}",
                f"{status.dead:,}",
                f"; {status.trouble}" if status.trouble else "",
            )

    return show


def _json_lines() -> Callable[[list[StreamStatus]], None]:
    last: list[dict[str, object]] = []

    def show(statuses: list[StreamStatus]) -> None:
        nonlocal last
        found = [status.to_json() for status in statuses]
        if found != last:
            last = found
            print(json.dumps({"groups": found}), flush=True)

    return show


def _settings(options: argparse.Namespace) -> StreamSettings:
    from scoring.serving.settings import Settings
    from scoring.serving.stream.address import parse_address
    from scoring.serving.stream.settings import StreamSettings

    paths = shared.served_jobs(options)
    if options.to is None and options.archive is None:
        raise StreamError("nothing is to be done: give --to for results, or --archive")
    results = parse_address(options.to, template=True) if options.to else None
    dead = parse_address(options.dead_letters, template=True) if options.dead_letters else None
    if dead is not None and results is not None and dead.servers != results.servers:
        raise StreamError(
            f"--dead-letters {dead} has other brokers than --to {results}; both are written together"
        )
    return StreamSettings(
        jobs=Settings(
            paths=paths,
            folder=options.jobs,
            clock=partial(clock.at, options.moment) if options.moment else clock.current,
            data=options.data,
            watch_seconds=options.watch_seconds,
        ),
        source=parse_address(options.source),
        results=results,
        dead_letters=dead,
        source_connection=options.connection_id,
        results_connection=options.to_connection_id,
        format=options.format,
        group=options.group,
        start=options.start,
        version=options.version,
        challengers=not options.no_challengers,
        max_batch=options.max_batch,
        max_wait_seconds=options.max_wait_ms / 1000,
        transactional=options.transactional,
        until_end=options.until_end,
        archive=options.archive,
        archive_seconds=options.archive_seconds,
    )


def _tokens(path: Path | None) -> frozenset[str] | None:
    from scoring.serving.auth import tokens_in_file

    return tokens_in_file(path) if path is not None else None


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)
