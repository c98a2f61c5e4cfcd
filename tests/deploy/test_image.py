"""The Dockerfile without a Docker engine, and the two scripts that go into the image."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import healthcheck
from deploy.start_api_server import write_password

REPOSITORY = Path(__file__).resolve().parents[2]
LINES = [
    line
    for line in (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
FORBIDDEN = "postgresql+psycopg2://airflow@127.0.0.1:1/airflow"


def test_what_is_copied_into_the_image_is_there_and_nothing_else_gets_to_the_engine() -> None:
    rules = [
        line
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        path
        for line in LINES
        if line.startswith("COPY ") and "--from" not in line
        for path in line.split()[1:-1]
    }
    assert [path for path in copied if not (REPOSITORY / path).exists()] == []
    assert [path for path in copied if not any(Path(path).is_relative_to(a) for a in allowed)] == []


def test_the_password_of_the_ui_is_in_a_private_file_and_no_longer_in_the_environment(
    tmp_path: Path,
) -> None:
    path = tmp_path / "passwords.json"
    environment = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(path),
        "UI_PASSWORD": 'a "quoted" one',
    }
    write_password(environment)
    assert json.loads(path.read_text()) == {"admin": 'a "quoted" one'}
    assert path.stat().st_mode & 0o777 == 0o600
    assert "UI_PASSWORD" not in environment


def test_the_api_server_does_not_start_without_a_password() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "deploy" / "start_api_server.py"],
        env={"PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "UI_PASSWORD, the password of the user admin, is not set" in done.stderr


@pytest.mark.parametrize(
    ("component", "says"),
    [
        ("api-server", "the API server does not answer: "),
        ("scheduler", "the database does not answer: "),
        ("worker", "the broker does not answer: "),
        ("serve", "the service does not answer: "),
        ("stream", "the stream does not answer: "),
    ],
)
def test_a_health_check_says_what_is_wrong(component: str, says: str) -> None:
    """Port 1 refuses; that the checks pass when all is well is shown by
    tests/integration/test_stack.py.
    """
    message = healthcheck.problem(
        component,
        {
            "AIRFLOW__API__PORT": "1",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": FORBIDDEN,
            "AIRFLOW__CELERY__BROKER_URL": "redis://:secret@127.0.0.1:1/0",
        },
        "1" if component in ("serve", "stream") else None,
    )
    assert message is not None
    assert message.startswith(says)
    assert "secret" not in message


def test_a_health_check_of_an_unknown_component_is_refused() -> None:
    assert healthcheck.main(["webserver"]) == 2
