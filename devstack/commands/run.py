"""`make run`: from nothing to every month scored, and Airflow's web UI."""

from dataclasses import dataclass
from pathlib import Path

from devstack.airflow import components, installation
from devstack.airflow.api import AirflowApi, NotReachable
from devstack.airflow.months import Months
from devstack.airflow.up_to_date import is_up_to_date
from devstack.commands import example_data, session
from devstack.commands.published import published_table
from devstack.commands.terminal import Terminal
from devstack.errors import DevstackError
from devstack.home import Home
from devstack.secrets import load_or_create
from devstack.services import postgres
from devstack.supervise.signals import signals_interrupt
from devstack.supervise.supervisor import Supervisor
from scoring.destinations.base import Publisher, open_publisher
from scoring.job.loader import JobFile, load_job
from scoring.storage.connections import Connections

JOB = "flight_delay"


@dataclass(frozen=True)
class RunOptions:
    """The options of `python -m devstack run`."""

    home: Home
    dags: Path
    port: int | None  # None: a free one is found
    exit_when_scored: bool


def run(options: RunOptions, terminal: Terminal) -> int:
    """Return the exit status; every process that was started has ended by then."""
    job_file = load_job(options.dags / "jobs" / f"{JOB}.yaml")
    with (
        signals_interrupt(),
        session.supervised(options.home, "make run", terminal.step) as supervisor,
    ):
        return _score_and_serve(options, job_file, supervisor, terminal)


def _score_and_serve(
    options: RunOptions, job_file: JobFile, supervisor: Supervisor, terminal: Terminal
) -> int:
    home, job = options.home, job_file.job
    publisher = open_publisher(job, job_file.roots(str(home.data)), Connections())
    secrets = load_or_create(home.secrets)
    # Beside the start of Airflow: the first task needs both.
    making_data = example_data.start_making(home.data, home.logs, supervisor, terminal.step)
    database = postgres.start(home, secrets.database_password, supervisor)
    may_be_up_to_date = options.exit_when_scored and making_data is None
    if may_be_up_to_date and is_up_to_date(database, job.name, _published(publisher), options.dags):
        terminal.step("every month is scored already")
        _print_published(publisher, terminal)
        return 0
    settings = installation.describe(home, options.dags, options.port, secrets, database.url)
    installation.write_files(home, settings, secrets)
    environment = installation.process_environment(settings)
    if components.migrate(home, environment, database, supervisor):
        terminal.step("Airflow's database is made")
    components.start(home, environment, database, supervisor)
    terminal.step(f"Airflow is starting; the logs of its processes: {home.logs}")
    if making_data is not None:
        supervisor.wait_for(making_data)
        terminal.step("flights and models are made")

    api = AirflowApi(settings.api_url, installation.UI_USER, secrets.ui_password)
    months = Months(
        api, job, lambda: _published(publisher), home.task_logs, supervisor.watch, terminal.step
    )
    months.let_airflow_score()
    terminal.step(f"Airflow is up and scores the months of {job.name}")
    if job.source.wait or not options.exit_when_scored:
        components.start_triggerer(home, environment, supervisor)
    failure = _wait_until_scored(months, terminal)
    _print_published(publisher, terminal)
    if failure is not None:
        terminal.error(str(failure))
    if not options.exit_when_scored:
        _let_airflow_evaluate(api, job_file, terminal)
        facts = [*session.access(home, settings), session.shell(home)]
        session.serve("make run", facts, home, supervisor, terminal)
    return 0 if failure is None else 1


def _wait_until_scored(months: Months, terminal: Terminal) -> DevstackError | None:
    """Return what failed, so that the months that did not can be shown all the same."""
    try:
        with terminal.months() as show:
            months.wait_until_scored(show)
    except DevstackError as failure:
        return failure
    terminal.step("every month is scored")
    return None


def _let_airflow_evaluate(api: AirflowApi, job_file: JobFile, terminal: Terminal) -> None:
    """Have the months compared with their actuals, where the job has some."""
    if job_file.job.actuals is None:
        return
    dag_id = f"{job_file.job.name}.evaluate"
    try:
        api.unpause(dag_id)
        api.trigger(dag_id)
    except NotReachable:  # it is a look at what is there already
        return
    terminal.step(f"the months are compared with what came true: {dag_id}")


def _published(publisher: Publisher) -> set[str]:
    return {manifest.partition for manifest in publisher.all_published()}


def _print_published(publisher: Publisher, terminal: Terminal) -> None:
    terminal.line(f"\npublished in {publisher.uri}:")
    terminal.table(published_table(publisher))
