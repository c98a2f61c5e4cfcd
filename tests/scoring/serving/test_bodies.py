from __future__ import annotations

import json
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.job.inputs import ColumnConfig
from scoring.job.schema import Job
from scoring.serving import bodies
from scoring.serving.bodies import parsed_json, rows_of_json, table_of_json
from scoring.serving.columns import RequestColumns
from tests.scoring.factories import JOB, merged

TYPES = ["string", "int8", "int64", "float32", "float64", "boolean", "timestamp", "date"]

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(["2013-05-01", "2013-05-01T03:00:00", "2013-05-01T03:00:00Z", "NA", "1"]),
    st.lists(st.integers(), max_size=2),
    st.just({"a": 1}),
)


def columns(kind: str, is_input: bool) -> tuple[Job, RequestColumns]:
    inputs = {"x": {"type": kind, "nullable": True}} if is_input else {"z": {"type": "float64"}}
    job = Job.model_validate(merged(JOB, {"inputs": inputs}) | {"inputs": inputs})
    config = ColumnConfig(type=kind)  # type: ignore[arg-type]
    return job, RequestColumns(["x"], {"x": job.inputs.get("x", config)}, {})


def decoded(values: list[Any], kind: str, is_input: bool) -> list[tuple[Any, bool]]:
    job, wanted = columns(kind, is_input)
    body = json.dumps([{"x": value} for value in values]).replace("Infinity", "1e999")
    found = table_of_json(rows_of_json(body.encode(), wanted), wanted, job)
    unread = found.unread.get("x", np.zeros(len(values), dtype=bool))
    return list(zip(found.table.column("x").to_pylist(), unread.tolist(), strict=True))


@pytest.mark.parametrize("is_input", [True, False])
@pytest.mark.parametrize("kind", TYPES)
@given(values=st.lists(VALUES, min_size=1, max_size=6))
def test_each_value_is_read_as_if_it_were_alone(kind: str, is_input: bool, values: list[Any]):
    together = decoded(values, kind, is_input)
    assert together == [decoded([value], kind, is_input)[0] for value in values]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int64", 2**63 - 1, 2**63 - 1),
        ("int64", 5.0, 5),
        ("int64", 5.5, None),
        ("int64", 2**63, None),
        ("int64", "5", None),
        ("int64", True, None),
        ("float64", 2**60, 2**60),
        ("float64", "1.5", None),
        ("boolean", 1, None),
        ("boolean", False, False),
        ("string", 1, None),
        ("string", "NA", "NA"),
    ],
)
def test_values_are_of_their_column_s_type_or_unread(kind: str, value: Any, expected: Any):
    ((found, unread),) = decoded([value], kind, True)
    assert (found, unread) == (expected, expected is None)


@given(number=st.floats(allow_nan=False))
def test_a_float_keeps_its_bits(number: float):
    ((found, _),) = decoded([number], "float64", True)
    assert np.float64(found).tobytes() == np.float64(number).tobytes()


def test_a_column_of_unknown_type_is_repeated_and_read_as_text():
    job = Job.model_validate(JOB)
    wanted = RequestColumns(["id"], {}, {})
    found = table_of_json([{"id": 1}, {"id": "a"}, {"id": None}, {"id": [1]}], wanted, job)
    assert found.table.column("id").to_pylist() == ["1", "a", None, "[1]"]
    assert found.table.schema.field("id").type == pa.string()


KEYS = st.sampled_from(["a", "b", "x y", "ü", 'q"', "\\", "{", "}", "[", ":", '":', "\n"])
TEXTS = st.one_of(st.text(max_size=6), KEYS)
NESTED = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(), st.integers(), st.integers(-(10**25), 10**25), TEXTS
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(st.tuples(KEYS, inner), max_size=3).map(tuple)
    ),
    max_leaves=6,
)
BLANKS = st.sampled_from(["", " ", "\n", "\t ", "\r\n"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """JSON, and what nearly is: objects may have a key twice, blanks are anywhere."""

    def written(value: Any) -> str:
        between = draw(BLANKS)
        if isinstance(value, tuple):
            pairs = (
                f"{json.dumps(k, ensure_ascii=draw(st.booleans()))}{between}:{written(v)}"
                for k, v in value
            )
            return "{" + f",{draw(BLANKS)}".join(pairs) + draw(BLANKS) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(written, value)) + between + "]"
        return json.dumps(value, ensure_ascii=draw(st.booleans()))

    objects = st.lists(st.tuples(KEYS, NESTED), max_size=4).map(tuple)
    found = written(draw(st.one_of(objects, st.lists(objects, max_size=3), NESTED)))
    if draw(st.integers(0, 4)) == 0:  # and what is cut off, or has too much
        at = draw(st.integers(0, len(found)))
        found = found[:at] + draw(st.sampled_from(["", "}", "{", '"', ",", "1", " "])) + found[at:]
    return found


@settings(max_examples=600)
@given(documents())
def test_the_quick_look_reads_what_the_close_look_reads(text: str):
    body = text.encode("utf-8", "surrogatepass")
    quick = bodies.parsed_if_clear(body)
    if quick is None:
        return
    with mock.patch.object(bodies, "parsed_if_clear", return_value=None):
        close = parsed_json(body)
    assert repr(quick) == repr(close)


@pytest.mark.parametrize("text", ['{"a": 1, "b": "ü"}', '[{"a": 1}, {"b": [1, 2]}]', "{}", "[]"])
def test_the_quick_look_is_enough_for_usual_rows(text: str):
    assert bodies.parsed_if_clear(text.encode()) == json.loads(text)
