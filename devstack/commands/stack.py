"""`make stack`: what docker-compose.yaml starts, on this machine and without containers.

Postgres, Valkey, SeaweedFS, Airflow's processes and two Celery workers, all at 127.0.0.1 and below
`.run/stack`. The settings are those of the containers (`devstack/airflow/environment.py`), and so
are the health checks.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy import healthcheck, load_data
from devstack.airflow import components, installation
from devstack.airflow.api import AirflowApi
from devstack.airflow.environment import Installation, Workers
from devstack.commands import example_data, session
from devstack.commands.terminal import Terminal
from devstack.home import REPOSITORY, Home
from devstack.secrets import Secrets, load_or_create
from devstack.services import object_store, postgres, predictions, streaming, valkey
from devstack.services.object_store import ObjectStore
from devstack.services.postgres import Database
from devstack.services.predictions import Service
from devstack.services.streaming import Stream
from devstack.supervise.signals import signals_interrupt
from devstack.supervise.supervisor import Supervisor
from scoring.pipeline.cpus import available_cores


@dataclass(frozen=True)
class StackOptions:
    """The options of `python -m devstack stack`, and what tests and benchmarks set besides."""

    home: Home
    dags: Path
    port: int | None = None  # None: a free one is found
    exit_when_up: bool = False
    workers: int = 2
    tasks_per_worker: int = 2
    settings: Mapping[str, str] = field(default_factory=dict)  # variables on top of the shared ones
    examples: Path | None = (
        None  # folder of flights and models to load; None: the bucket stays empty
    )
    serve: bool = False  # also the service for predictions
    stream: bool = False  # also a broker of Kafka's protocol, whose messages are scored


@dataclass(frozen=True)
class Stack:
    """Everything that runs, kept running by `supervisor`, whose `watch` must be called repeatedly."""

    home: Home
    secrets: Secrets
    installation: Installation
    environment: Mapping[str, str]
    database: Database
    object_store: ObjectStore
    api: AirflowApi
    supervisor: Supervisor
    workers: tuple[str, ...]
    service: Service | None = None
    stream: Stream | None = None

    def wait_until_up(self) -> None:
        """Return when every component passes its health check, the same as in the containers."""
        for component in ("api-server", *healthcheck.JOB_TYPES):
            self._wait_for(component, component)
        for worker in self.workers:
            self._wait_for("worker", worker)
        if self.service is not None:
            self._wait_for("serve", "serve", str(self.service.port))
        if self.stream is not None:
            self._wait_for("stream", "stream", str(self.stream.port))

    def _wait_for(self, component: str, name: str, asked: str | None = None) -> None:
        self.supervisor.wait_until(
            lambda: healthcheck.problem(component, self.environment, asked or name) is None,
            name,
            self.home.logs / f"{name}.log",
            pause_seconds=0.5,
        )


def stack(options: StackOptions, terminal: Terminal) -> int:
    """Return the exit status; every process that was started has ended by then."""
    with signals_interrupt(), running(options, terminal.step) as everything:
        terminal.step("everything is up")
        if not options.exit_when_up:
            _serve(everything, terminal)
    return 0


@contextmanager
def running(options: StackOptions, say: Callable[[str], None]) -> Iterator[Stack]:
    """Yield a running stack; end it when the block ends."""
    with session.supervised(options.home, "make stack", say) as supervisor:
        everything = _start(options, supervisor, say)
        if options.examples is not None:
            _load_examples(everything, options.examples, say)
        everything = _start_optional(everything, options)
        everything.wait_until_up()
        yield everything


def _start(options: StackOptions, supervisor: Supervisor, say: Callable[[str], None]) -> Stack:
    """Start everything; returns when the services answer and Airflow's processes are on their way."""
    home = options.home
    secrets = load_or_create(home.secrets)
    database = postgres.start(home, secrets.database_password, supervisor, durable=True)
    broker = valkey.start(home, secrets, supervisor)
    store = object_store.start(home, secrets, supervisor)
    say("Postgres, Valkey and SeaweedFS are up")
    settings = replace(
        installation.describe(home, options.dags, options.port, secrets, database.url),
        data=f"s3://{store.bucket}",
        tasks_at_once=options.workers * options.tasks_per_worker,
        workers=Workers(
            broker.url,
            concurrency=options.tasks_per_worker,
            cores=max(1, available_cores() // options.workers),
        ),
        object_store=store,
    )
    installation.write_files(home, settings, secrets)
    environment = {**installation.process_environment(settings), **options.settings}
    if components.migrate(home, environment, database, supervisor):
        say("Airflow's database is made")
    components.start(home, environment, database, supervisor)
    components.start_triggerer(home, environment, supervisor)
    workers = tuple(f"worker-{number + 1}" for number in range(options.workers))
    for worker in workers:
        components.start_worker(worker, home, environment, supervisor)
    say(f"Airflow is starting; the logs of its processes: {home.logs}")
    api = AirflowApi(settings.api_url, installation.UI_USER, secrets.ui_password)
    return Stack(home, secrets, settings, environment, database, store, api, supervisor, workers)


def _start_optional(everything: Stack, options: StackOptions) -> Stack:
    """Start what has a profile in docker-compose.yaml, and was asked for."""
    jobs, home, supervisor = options.dags / "jobs", options.home, everything.supervisor
    store = everything.object_store
    if options.serve:
        service = predictions.start(jobs, home, everything.secrets, store, supervisor)
        everything = replace(everything, service=service)
    if options.stream:
        everything = replace(everything, stream=streaming.start(jobs, home, store, supervisor))
    return everything


def _load_examples(everything: Stack, folder: Path, say: Callable[[str], None]) -> None:
    """Load flights and models to where the job flight_delay reads them; existing objects stay."""
    logs, supervisor = everything.home.logs, everything.supervisor
    making = example_data.start_making(folder, logs, supervisor, say)
    if making is not None:
        supervisor.wait_for(making)
    written = load_data.load(folder, everything.environment)
    data = everything.environment["SCORING_DATA"]
    what = f"{len(written)} files are loaded into" if written else "are already in"
    say(f"flights and models: {what} {data}/flights and {data}/models")


def _serve(everything: Stack, terminal: Terminal) -> None:
    home, store = everything.home, everything.object_store
    s3 = f"{store.endpoint_url}, bucket {store.bucket}   (keys in {home.secrets})"
    facts = [
        *session.access(home, everything.installation),
        ("S3", s3),
        session.shell(home),
    ]
    if everything.installation.dags_folder == str(REPOSITORY / "dags"):
        facts += [
            ("score", "in that shell: airflow dags unpause flight_delay --yes"),
            ("published", "in that shell: scoring show flight_delay"),
        ]
    if (service := everything.service) is not None:
        facts += [("predictions", service.url), ("ask", service.request)]
    if everything.stream is not None:
        facts += _of_stream(everything.stream)
    session.serve("make stack", facts, home, everything.supervisor, terminal)


def _of_stream(stream: Stream) -> list[session.Fact]:
    topics = f"{streaming.SOURCE}, scored into {streaming.RESULTS} or {streaming.DEAD_LETTERS}"
    return [
        ("Kafka", f"{stream.broker.server}   (asks for no password)"),
        ("topics", topics),
        ("metrics", stream.metrics),
        ("send", stream.example),
        ("results", stream.results),
    ]
