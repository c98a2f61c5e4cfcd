"""Flights and models for the job flight_delay, made where they are missing."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from devstack.supervise.processes import Service
from devstack.supervise.supervisor import Supervisor
from examples.paths import missing_files


def start_making(
    data: Path, logs: Path, supervisor: Supervisor, say: Callable[[str], None]
) -> Service | None:
    """Start the process that makes them, which takes as long as Airflow's start; None when nothing
    is missing.
    """
    if not missing_files(data):
        return None
    say("making the flights of 2013 by month, and two models trained on them")
    command = [sys.executable, "-m", "examples", "--data", str(data)]
    return supervisor.start_once("data", command, os.environ, logs / "data.log")
