"""What holds for each of the three operators."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from scoring_airflow import ExtractOperator, ScoreOperator, UploadOperator
from scoring_airflow.operators.base import PartitionOperator, fail_if_permanent

from scoring import errors

OWN = {
    ExtractOperator: {"model_version": "v1"},
    ScoreOperator: {"shard": {"number": 0}},
    UploadOperator: {
        "scored": [{"number": 0}],
        "replace_newer": "False",
        "accept_drift": "",
        "accept_changes": "",
    },
}
COMMON = {
    "job_file": "/nowhere/job.yaml",
    "data_interval_start": "2013-02-02T03:00:00+00:00",
    "partition": "2013-02",
}

TRANSIENT = {
    "SourceError",
    "SourceMissingError",
    "SourceReplacedError",
    "PublicationError",
    "ReplacedMeanwhileError",
    "ParityError",
    "VerifyError",
    "RegistryUnavailableError",
    "ResourceError",
}
"""Late files and full disks; all other errors are the same when tried again."""


def _parameters(operator: type[PartitionOperator]) -> set[str]:
    found: set[str] = set()
    for cls in (operator, PartitionOperator):
        found |= set(inspect.signature(cls.__init__).parameters)
    return found - {"self", "kwargs"}


@pytest.mark.parametrize("operator", OWN)
def test_parameters_are_template_fields(operator: type[PartitionOperator]) -> None:
    assert set(operator.template_fields) == _parameters(operator)
    assert len(set(operator.template_fields)) == len(operator.template_fields)


@pytest.mark.parametrize(("operator", "own"), OWN.items())
def test_arguments_are_only_stored(operator: type[PartitionOperator], own: dict[str, Any]) -> None:
    arguments = {**COMMON, **own}  # the job file does not exist: nothing looks at it here
    task = operator(task_id="task", **arguments)
    assert set(arguments) == set(operator.template_fields)
    for name, value in arguments.items():
        assert getattr(task, name) is value


@pytest.mark.parametrize("operator", OWN)
def test_a_job_file_must_be_named(operator: type[PartitionOperator]) -> None:
    with pytest.raises(TypeError, match="job_file"):
        operator(task_id="task", **OWN[operator])


def _tree(error: type[Exception]) -> list[type[Exception]]:
    return [error, *(leaf for child in error.__subclasses__() for leaf in _tree(child))]


@pytest.mark.parametrize("error", _tree(errors.ScoringError))
def test_only_transient_errors_are_retried(error: type[Exception]) -> None:
    # Airflow retries every exception but this one.
    final = None if error.__name__ in TRANSIENT else AirflowFailException
    wrong = error("what is wrong")
    wrong.__cause__ = OSError("disk full")
    with pytest.raises(final or error, match=r"^what is wrong") as raised, fail_if_permanent():
        raise wrong
    outcome = ["Nothing was published."] if issubclass(error, errors.UNPUBLISHED) else []
    assert str(raised.value).splitlines() == ["what is wrong", *outcome]
    assert raised.value.__cause__ is wrong.__cause__  # and not the error itself, shown twice


def test_an_error_that_nobody_foresaw_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), fail_if_permanent():
        raise ZeroDivisionError
