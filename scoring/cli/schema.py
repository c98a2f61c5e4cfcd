"""``schema``: print the JSON schema of a job file, for editors."""

from __future__ import annotations

import argparse
import json

HELP = "print the JSON schema of a job file, for editors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="accepted; the output is always JSON")


def command(options: argparse.Namespace) -> int:
    from scoring.job.json_schema import job_schema

    print(json.dumps(job_schema(), indent=2, ensure_ascii=False))
    return 0
