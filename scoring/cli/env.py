"""``env``: build the environments of a job's model versions, ahead of a run."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from scoring.cli import options as shared

if TYPE_CHECKING:
    from scoring.pipeline.environments import Environment

HELP = "build the environments of a job's model versions, ahead of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.pipeline.environments import build_environments

    job_file = shared.job_file(options)
    found = []
    for version, environment in build_environments(job_file, options.data):
        found.append({"version": version, **_described(environment)})
        if not options.json:
            print(_shown(version, environment), flush=True)  # the next one may take a minute
    if options.json:
        print(json.dumps(found, indent=2))
    elif not found:
        print(f"{job_file.job.name}: no model version has an environment")
    return 0


def _described(environment: Environment) -> dict[str, object]:
    return {
        **environment.record,
        "folder": str(environment.folder),
        "packages": environment.packages,
        "built_seconds": round(environment.seconds, 1),
    }


def _shown(version: str, environment: Environment) -> str:
    built = f"built in {environment.seconds:.1f} s" if environment.seconds else "is there"
    packages = ", ".join(f"{name}=={release}" for name, release in environment.packages.items())
    return (
        f"{version}: Python {environment.interpreter.python}, {built}: {environment.folder}\n"
        f"  packages {environment.lock_sha256[:16]}…: {packages}"
    )
