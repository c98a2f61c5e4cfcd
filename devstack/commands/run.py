"""`make run`: from nothing to every month scored, and Airflow's web UI."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from devstack.airflow import components, installation
from devstack.airflow.api import AirflowApi
from devstack.airflow.environment import Installation
from devstack.airflow.months import Months
from devstack.airflow.up_to_date import is_up_to_date
from devstack.commands.published import published_table
from devstack.commands.terminal import Terminal
from devstack.errors import DevstackError
from devstack.home import Home
from devstack.secrets import Secrets, load_or_create
from devstack.supervise import processes
from devstack.supervise.lock import only_one
from devstack.supervise.signals import signals_ignored, signals_interrupt
from devstack.supervise.supervisor import Supervisor
from examples.paths import missing_files
from scoring.destination import Destination
from scoring.job_file import JobFile, load_job

JOB = "flight_delay"


@dataclass(frozen=True)
class Options:
    """What `python -m devstack run` was asked for."""

    home: Home
    dags: Path
    port: int | None  # None: a free one is found
    exit_when_scored: bool


def run(options: Options, terminal: Terminal) -> int:
    """Returns the exit status. Everything that was started has ended by then."""
    job_file = load_job(options.dags / "jobs" / f"{JOB}.yaml")
    with only_one(options.home.lock), signals_interrupt():
        record = processes.Record(options.home.processes)
        for name in record.end_leftovers():
            terminal.step(f"ended the {name} that an interrupted call had left")
        supervisor = Supervisor(record, terminal.step)
        try:
            return _score_and_serve(options, job_file, supervisor, terminal)
        finally:
            with signals_ignored():  # ending takes a few seconds, and is to be finished
                components.end(supervisor)


def _score_and_serve(
    options: Options, job_file: JobFile, supervisor: Supervisor, terminal: Terminal
) -> int:
    home, job = options.home, job_file.job
    destination = Destination.of(job, job_file.roots(str(home.data)))
    secrets = load_or_create(home.secrets)
    making_data = _start_making_data(home, supervisor, terminal)
    database = components.start_database(home, secrets, supervisor)
    may_be_up_to_date = options.exit_when_scored and making_data is None
    if may_be_up_to_date and is_up_to_date(
        database, job.name, _published(destination), options.dags
    ):
        terminal.step("every month is scored already")
        _print_published(destination, terminal)
        return 0
    settings = installation.describe(home, options.dags, options.port, secrets, database.url)
    installation.write_files(home, settings, secrets)
    environment = installation.process_environment(settings)
    if components.migrate(home, environment, database, supervisor):
        terminal.step("Airflow's database is made")
    components.start(home, environment, database, supervisor)
    terminal.step(f"Airflow is starting; the logs of its processes: {home.logs}")
    if making_data is not None:
        components.wait_for(making_data, supervisor)
        terminal.step("flights and models are made")

    api = AirflowApi(settings.api_url, installation.UI_USER, secrets.ui_password)
    months = Months(
        api, job, lambda: _published(destination), home.task_logs, supervisor.watch, terminal.step
    )
    months.let_airflow_score()
    terminal.step(f"Airflow is up and scores the months of {job.name}")
    if job.source.wait or not options.exit_when_scored:
        components.start_triggerer(home, environment, supervisor)
    failure: DevstackError | None = None
    try:
        with terminal.months() as bar:
            months.wait_until_scored(bar)
        terminal.step("every month is scored")
    except DevstackError as error:
        failure = error
    _print_published(destination, terminal)
    if failure is not None:
        terminal.error(str(failure))
    if not options.exit_when_scored:
        _serve(home, settings, secrets, supervisor, terminal)
    return 0 if failure is None else 1


def _published(destination: Destination) -> set[str]:
    return {manifest.partition for manifest in destination.all_published()}


def _start_making_data(
    home: Home, supervisor: Supervisor, terminal: Terminal
) -> processes.Service | None:
    """Beside the start of Airflow: the first task needs both."""
    if not missing_files(home.data):
        return None
    terminal.step("making the flights of 2013 by month, and two models trained on them")
    command = [sys.executable, "-m", "examples", "--data", str(home.data)]
    service = processes.start("data", command, os.environ, home.logs / "data.log")
    supervisor.add(service)
    return service


def _print_published(destination: Destination, terminal: Terminal) -> None:
    terminal.line(f"\npublished in {destination.uri}:")
    terminal.table(published_table(destination))


def _serve(
    home: Home, settings: Installation, secrets: Secrets, supervisor: Supervisor, terminal: Terminal
) -> None:
    """Keep Airflow up until Ctrl-C."""
    terminal.line()
    terminal.line(f"web UI      {settings.api_url}")
    terminal.line(
        f"login       {installation.UI_USER} / {secrets.ui_password}   (kept in {home.passwords})"
    )
    terminal.line(f"airflow     . {home.shell_environment}   gives a shell the airflow command")
    terminal.line(f"logs        {home.logs} (Airflow's processes), {home.task_logs} (tasks)")
    terminal.line("\nCtrl-C ends Airflow. `make run` takes up where it was.")
    try:
        while True:
            supervisor.watch()
    except KeyboardInterrupt:
        terminal.line()
