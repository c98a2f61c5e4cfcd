"""What an input may say about its values: limits and allowed values that the type can have."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from scoring.errors import JobError
from scoring.job.inputs import ColumnConfig
from scoring.job.loader import load_job
from tests.scoring.factories import JOB, Place, merged


def problems(**column: Any) -> list[str]:
    return [
        f"{'.'.join(map(str, loc))}: {message}"
        for loc, message in ColumnConfig(**column).problems()
    ]


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"),
    [
        ("int8", -128, 127),
        ("int16", -32768, 32767),
        ("int32", -(2**31), 2**31 - 1),
        ("int64", -(2**63), 2**63 - 1),
        ("float32", -3.4028234663852886e38, 3.4028234663852886e38),
        ("float64", -1.7976931348623157e308, 1.7976931348623157e308),
    ],
)
def test_limits_and_allowed_values_are_within_the_type(kind: str, lowest: Any, highest: Any):
    assert problems(type=kind, min=lowest, max=highest, allowed=[lowest, highest, 0]) == []
    beyond = (lowest * 2, highest * 2 + 1) if kind != "float64" else (-(10**400), 10**400)
    if kind.startswith("int"):
        beyond = (lowest - 1, highest + 1)
    for value in beyond:
        for field in ({"min": value}, {"max": value}, {"allowed": [value]}):
            if not (isinstance(value, float) and math.isinf(value)):
                (message,) = problems(type=kind, **field)
                assert f"is outside of {kind}" in message


def test_what_is_allowed_is_exact():
    assert ColumnConfig(type="int64", max=2**63 - 1).max == 2**63 - 1
    assert ColumnConfig(type="int64", min=9007199254740993).min == 9007199254740993


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_limits_are_finite(value: float):
    for field in ("min", "max"):
        with pytest.raises(ValidationError, match="is not a finite number; remove the key"):
            ColumnConfig(type="float64", **{field: value})
    (message,) = problems(type="float64", allowed=[value])
    assert "is not a finite number, and rows with such a value are quarantined" in message


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ({"type": "int8", "allowed": [999]}, "999 is outside of int8, from -128 to 127"),
        ({"type": "int8", "min": -200}, "min: -200 is outside of int8"),
        ({"type": "int8", "max": 127.5}, "max: 127.5 is outside of int8"),
        ({"type": "float32", "allowed": [1e300]}, "1e+300 is outside of float32, whose largest"),
        ({"type": "float32", "allowed": [1e-300]}, "1e-300 is 0 in float32"),
        ({"type": "int64", "allowed": [1e20]}, "1e+20 is outside of int64"),
        ({"type": "string", "allowed": []}, "[] allows no value; list the values, or"),
        ({"type": "string", "allowed": ["a", "b", "a"]}, '"a" is listed twice'),
        ({"type": "int64", "allowed": [1, 1.0]}, "1.0 is listed twice"),
        ({"type": "boolean", "allowed": [True, True]}, "true is listed twice"),
        ({"type": "int64", "min": 5, "allowed": [4, 5]}, "4 is below min 5, so no row can have it"),
        ({"type": "float64", "max": 5, "allowed": [5.5]}, "5.5 is above max 5, so no row can"),
        ({"type": "float64", "allowed": ["1e3"]}, '"1e3" is not of type float64; write 1000.0, without quotes'),
        ({"type": "float64", "allowed": ["1e300"]}, "; write 1.0e+300, without quotes"),
        ({"type": "date", "allowed": ["May"]}, '"May" is not a date in ISO 8601, such as 2013-05-07'),
        ({"type": "date", "allowed": ["2013-02-30"]}, '"2013-02-30" is not a date'),
        ({"type": "date", "allowed": ["2013-05-07T00:00"]}, "is not a date"),
        ({"type": "date", "allowed": ["07.05.2013"]}, "is not a date"),
        ({"type": "date", "allowed": ["２０１３-05-07"]}, "is not a date"),
        ({"type": "date", "allowed": [5]}, "5 is not of type date"),
        ({"type": "date", "allowed": ["2013-05-07", "2013-05-07"]}, "is listed twice"),
        ({"type": "timestamp", "allowed": ["2013-05-07 25:00"]}, "is not a timestamp in ISO 8601, such as"),
        ({"type": "timestamp", "allowed": ["noon"]}, "is not a timestamp"),
        ({"type": "timestamp", "allowed": ["2013-05-07T03"]}, "is not a timestamp"),
        (
            {"type": "timestamp", "allowed": ["2013-05-07T03:00", "2013-05-07 03:00:00"]},
            "is listed twice",
        ),
        (
            {"type": "timestamp", "allowed": ["2013-05-07T03:00Z", "2013-05-07T05:00+02:00"]},
            "is listed twice",
        ),
        (
            {"type": "timestamp", "allowed": ["2013-05-07T03:00Z", "2013-05-08T03:00"]},
            "some of these timestamps have a UTC offset and others do not; add one",
        ),
    ],
)  # fmt: skip
def test_what_no_row_could_have_is_reported(column: dict[str, Any], expected: str):
    (found,) = problems(**column)
    assert expected in found


@pytest.mark.parametrize(
    "column",
    [
        {"type": "int8", "min": -128, "max": 127, "allowed": [-128, 127.0]},
        {"type": "float32", "allowed": [0.1, 0.2, 0]},
        {"type": "float64", "min": 0.5, "allowed": [0.5, 1]},
        {"type": "date", "allowed": ["2013-05-07", "2012-02-29"]},
        {"type": "timestamp", "allowed": ["2013-05-07", "2013-05-07 03:00", "2013-05-07T03:00:00.123456"]},
        {"type": "timestamp", "allowed": ["2013-05-07T03:00:00Z", "2013-05-07T03:00+02:00"]},
        {"type": "boolean", "allowed": [True, False]},
        {"type": "string", "allowed": ["1", "2013-05-07", ""]},
    ],
)  # fmt: skip
def test_what_rows_can_have_is_right(column: dict[str, Any]):
    assert problems(**column) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("min: .inf", "inputs.x.min: .inf is not a finite number; remove the key for no limit"),
        ("max: -.inf", "inputs.x.max: -.inf is not a finite number"),
        ("max: .nan", "inputs.x.max: .nan is not a finite number"),
        ("min: 1e3", 'inputs.x.min: "1e3" should be a valid number; write 1000, without quotes'),
        ("min: yes", "inputs.x.min: true should be a valid number; write a number"),
        ("min: none", 'inputs.x.min: "none" should be a valid number; write a number'),
        ("min: [0]", "inputs.x.min: [0] should be a valid number"),
        ("allowed: [.nan, 1]", "inputs.x.allowed: .nan is not a finite number"),
        (f"allowed: [{10**400}]", "is outside of float64, whose largest value is 1.79"),
    ],
)
def test_a_limit_in_a_job_file(empty: Place, text: str, expected: str):
    job = merged(JOB, {"inputs": None})
    path = empty.folder / "sample.yaml"
    path.write_text(yaml.safe_dump(job) + f"inputs: {{x: {{type: float64, {text}}}}}\n")
    with pytest.raises(JobError) as error:
        load_job(path)
    assert "(1 problem)" in str(error.value)
    assert expected in str(error.value)
