"""``inspect``: what a model file would import, without loading it, and whether a job allows it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scoring.errors import ModelError
from scoring.job.folder import job_path
from scoring.job.loader import load_job

if TYPE_CHECKING:
    from scoring.pipeline.inspection import Inspection

HELP = "list what a model file would import, without loading it, and whether a job allows it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a model file: pickle, joblib, skops, onnx, lightgbm…")
    parser.add_argument("--job", help="say whether this job (its name, or its file) would load it")
    parser.add_argument("--version", metavar="VERSION", help="as this version of the job's model")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout, nothing else")


def command(options: argparse.Namespace) -> int:
    """Print what is found; raises ModelError for a file that breaks off, or that the job refuses."""
    from scoring.pipeline.inspection import check_allowed, inspect_file

    if options.version is not None and options.job is None:
        raise ModelError("--version is one of a job's: name the job with --job")
    job_file = load_job(job_path(options.job, options.jobs)) if options.job else None
    found = inspect_file(options.file)
    allowed, refused = None, None
    if job_file is not None:
        try:
            allowed = check_allowed(found, job_file, options.version)
        except ModelError as error:
            refused = error
    if options.json:
        print(json.dumps(_described(found, allowed, refused), indent=2))
    else:
        _print(found, allowed)
    if refused is not None:
        raise refused
    if found.broken:
        raise ModelError(
            f"{found.uri}: {found.broken}. What comes after that is not listed: do not load it"
        )
    return 0


def _described(
    found: Inspection, allowed: str | None, refused: ModelError | None
) -> dict[str, Any]:
    described = asdict(found)
    if allowed is not None or refused is not None:
        described["allowed"] = refused is None
        described["reason"] = allowed or str(refused)
    return described


def _print(found: Inspection, allowed: str | None) -> None:
    longest = max((len(_plain(one.name)) for one in found.imports), default=0)
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, longest + 120)  # a name is never broken into two lines
    versions = "".join(f", {name} {release}" for name, release in found.versions.items())
    console.print(Text(f"{found.uri}: {found.kind}, {found.bytes:,} bytes{_plain(versions)}"))
    console.print(Text(f"sha256 {found.sha256}"))
    if found.is_data:
        console.print("data only: loading it imports nothing")
    elif found.imports:
        console.print(_table(found))
    elif not found.broken:
        console.print("it imports nothing")
    for line in (*found.notes, *([allowed] if allowed else [])):
        console.print(Text(_plain(line)))


def _table(found: Inspection) -> Table:
    of_skops = found.kind == "skops"
    table = Table(box=None, pad_edge=False)
    for name in ("name", "times", "used", "verdict", *(["skops"] if of_skops else [])):
        table.add_column(name, justify="right" if name == "times" else "left")
    for one in found.imports:
        style = {"can run code": "bold red", "unknown": "yellow"}.get(one.verdict, "")
        trusted = ["safe" if one.trusted else "to be trusted"] if of_skops else []
        cells = [_plain(one.name), f"{one.times:,}", one.used, _verdict(one.verdict), *trusted]
        table.add_row(*map(Text, cells), style=style)
    return table


def _verdict(found: str) -> str:
    if found == "unknown":
        return "unknown: not part of scikit-learn, NumPy, SciPy, pandas"
    return "type of a model" if found == "known" else found


def _plain(text: str) -> str:
    """Return ``text`` on one line, without characters that a terminal takes for commands."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return shown if len(shown) <= 300 else f"{shown[:299]}…"
