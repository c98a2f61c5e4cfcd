from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from scoring.job.alert import AlertConfig

PATH = "airflow.providers.slack.notifications.slack.SlackNotifier"


def problems(**arguments: Any) -> list[str]:
    found = list(AlertConfig(notifier=PATH, arguments=arguments).problems())
    assert all("Airflow connection" in message for _, message in found)
    return [".".join(map(str, loc)) for loc, _ in found]


def test_arguments_that_name_a_connection_are_right():
    assert problems(slack_conn_id="slack", slack_webhook_conn_id="hook", text="{{ job }}") == []
    assert problems(to=["a@example.org"], auth_type="basic", author="me") == []


@pytest.mark.parametrize(
    "name",
    ["password", "smtp_password", "token", "api_key", "apiKey", "secret", "webhook_url", "Authorization"],
)  # fmt: skip
def test_a_secret_does_not_belong_in_a_job_file(name: str):
    assert problems(**{name: "x"}) == [f"arguments.{name}"]
    assert problems(headers=[{name: "x"}]) == [f"arguments.headers.0.{name}"]


@pytest.mark.parametrize("path", ["SlackNotifier", "a.b()", "a..b", "a.b\n", "a b.c", ".a.b", ""])
def test_a_notifier_is_an_import_path(path: str):
    with pytest.raises(ValidationError):
        AlertConfig(notifier=path)
