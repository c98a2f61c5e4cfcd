"""What a run's conf may say: a key that nothing reads would be taken for a choice that was made."""

from __future__ import annotations

import difflib
import json
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from scoring.errors import quoted

OF_AIRFLOW = ("openlineage",)
"""Keys that Airflow adds itself: ``TriggerDagRunOperator`` names the run that triggers another one."""

KEYS = ("partition", "model_version", "replace_newer", "accept_drift", "accept_changes")
"""Keys that the tasks of a job read."""

_SHOWN_CHARACTERS = 100


def check_conf(context: Any, keys: tuple[str, ...] = KEYS) -> None:
    """Fail the task, without a retry, for a conf with unknown keys, or values of another type.

    For the Dag of a job, as ``pre_execute`` of its first task.  The Params of the Dag are in a conf
    too, as the trigger form sends all of them.  A key that begins with an underscore or with
    ``airflow`` is left to the author who adds it.  ``keys`` are those of ``KEYS`` that the Dag reads.
    """
    conf = context["dag_run"].conf or {}
    params = list(context["dag"].params)
    problems = [
        problem
        for key, value in conf.items()
        if (problem := _problem_of(str(key), value, params, keys))
    ]
    if problems:
        raise AirflowFailException(
            f"the conf of this run is invalid: {'; '.join(problems)}. Nothing was read or "
            "published. Start another run, or another backfill, with the right conf"
        )


def _problem_of(key: str, value: Any, params: list[str], keys: tuple[str, ...]) -> str | None:
    if key in KEYS and key not in keys:
        return f"{_shown(key)} has no effect in this Dag (known here: {', '.join(keys)})"
    if key == "partition":
        if value is None or isinstance(value, str):
            return None
        return f'partition is {_shown(value)}, and a key is text: write such as "2013-05"'
    if key == "model_version":
        if value is None or isinstance(value, str):
            return None
        return (
            f"model_version is {_shown(value)}, and a version's name is text: write {_text(value)}"
        )
    if key == "replace_newer":
        if isinstance(value, bool):
            return None
        return f"replace_newer is {_shown(value)}: write true or false, without quotes"
    if key in ("accept_drift", "accept_changes"):
        if isinstance(value, str) and value.strip():
            return None
        what = key.removeprefix("accept_")
        return f"{key} is {_shown(value)}: write why the {what} {'is' if what == 'drift' else 'are'} right, as text"
    if key in params or key in OF_AIRFLOW or key.startswith(("_", "airflow")):
        return None
    known = list(dict.fromkeys([*keys, *params]))
    close = difflib.get_close_matches(key.lower(), known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown key {_shown(key)}{hint} (known here: {', '.join(known)})"


def _shown(value: Any) -> str:
    return quoted(json.dumps(value, default=str), _SHOWN_CHARACTERS)


def _text(value: Any) -> str:
    return json.dumps(str(value)) if isinstance(value, int | float) else 'such as "v1"'
