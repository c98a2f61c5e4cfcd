from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from scoring.errors import ModelError, PartitionError
from scoring.job.schema import Job
from tests.scoring.factories import JOB, merged

VERSIONS = [
    {"version": "v2", "uri": "v2.skops", "in_force_from": "2013-07"},
    {"version": "v1", "uri": "v1.skops", "in_force_from": "2013-02"},
    {"version": "v3", "uri": "v3.skops", "in_force_from": "2014-01"},
]


def job(**changes: Any) -> Job:
    return Job.model_validate(merged(JOB, changes))


def problems(**changes: Any) -> dict[str, str]:
    """What ``problems`` says, by the place it says it of."""
    found = list(job(**changes).problems())
    return {".".join(map(str, loc)): message for loc, message in found}


def test_the_sample_job_is_right():
    assert problems() == {}


@pytest.mark.parametrize(
    ("policy", "partition", "version"),
    [
        ("as_of", "2013-02", "v1"),
        ("as_of", "2013-06", "v1"),
        ("as_of", "2013-07", "v2"),
        ("as_of", "2013-12", "v2"),
        ("as_of", "2019-01", "v3"),
        ("current", "2013-02", "v3"),
        ("current", "2013-08", "v3"),
    ],
)
def test_the_policy_chooses_the_model_version(policy: str, partition: str, version: str):
    of_policy = job(model={"policy": policy, "versions": VERSIONS})
    assert of_policy.version_for(of_policy.parse(partition)).version == version


def test_a_pinned_version_is_taken_whatever_the_policy_says():
    of_job = job(model={"versions": VERSIONS})
    assert of_job.version_for(of_job.parse("2013-02"), "v3").version == "v3"


def test_an_unknown_pinned_version_is_reported_with_the_known_ones():
    of_job = job(model={"versions": VERSIONS})
    with pytest.raises(ModelError, match="sample has no model version 'v9'; it has v2, v1, v3"):
        of_job.version_for(of_job.parse("2013-02"), "v9")


def test_before_the_first_version_no_model_is_in_force():
    of_job = job(model={"versions": VERSIONS})
    with pytest.raises(ModelError) as error:
        of_job.version_for(of_job.parse("2013-01"))
    assert "in force in 2013-01: the first, v1, is in force from 2013-02" in str(error.value)
    assert "nothing was scored" in str(error.value)


def test_a_job_without_a_model_has_no_version_to_pin():
    of_job = job(model=None, scorer="scorer.py")
    assert of_job.version_names == []
    with pytest.raises(ModelError, match="sample has no model"):
        of_job.version_for(of_job.parse("2013-02"), "v1")


HOURS = {
    "partition": "hour",
    "schedule": "15 * * * *",
    "timezone": "America/New_York",
    "start": "2013-11-03T00-0400",
    "model": None,
    "scorer": "scorer.py",
}
FIRST, SECOND = "2013-11-03T01-0400", "2013-11-03T01-0500"


def test_of_the_two_hours_at_the_end_of_dst_each_has_its_own_version():
    versions = [
        {"version": "early", "uri": "a.skops", "in_force_from": FIRST},
        {"version": "late", "uri": "b.skops", "in_force_from": SECOND},
    ]
    of_job = job(**HOURS | {"model": {"versions": versions}})
    assert of_job.version_for(of_job.parse(FIRST)).version == "early"
    assert of_job.version_for(of_job.parse(SECOND)).version == "late"


def test_of_the_two_hours_at_the_end_of_dst_a_job_can_begin_or_end_with_either():
    begins_late = job(**HOURS | {"start": SECOND})
    with pytest.raises(PartitionError, match="has no partition"):
        begins_late.partition_to_score(FIRST)
    ends_early = job(**HOURS, end=FIRST)
    assert ends_early.partition_to_score(FIRST).key == FIRST
    with pytest.raises(PartitionError, match="has no partition"):
        ends_early.partition_to_score(SECOND)
    assert problems(**HOURS | {"start": SECOND}, end=FIRST).keys() == {"end"}


@pytest.mark.parametrize("key", ["2013-03", "2013-12", "2014-01"])
def test_partitions_from_start_to_end_are_the_jobs(key: str):
    assert job(start="2013-03", end="2014-01").partition_to_score(key).key == key


@pytest.mark.parametrize(
    ("end", "key", "expected"),
    [
        ("2014-01", "2013-02", "sample has no partition 2013-02: .* from 2013-03 to 2014-01"),
        ("2014-01", "2014-02", "sample has no partition 2014-02: .* from 2013-03 to 2014-01"),
        (None, "2013-02", "sample has no partition 2013-02: .* from 2013-03 on"),
    ],
)
def test_other_partitions_are_not(end: str | None, key: str, expected: str):
    with pytest.raises(PartitionError, match=expected):
        job(start="2013-03", end=end).partition_to_score(key)


def test_the_columns_to_read_are_ids_inputs_kept_ones_and_the_date_once_each():
    of_job = job(
        row_id=["id", "x"], output={"keep": ["place", "id"]}, source={"date_column": "day"}
    )
    assert of_job.columns == ["id", "x", "place", "day"]
    assert of_job.kept_columns == ["id", "x", "place"]


@pytest.mark.parametrize(
    ("uri", "given", "kind"),
    [
        ("a.parquet", None, "parquet"),
        ("a.csv", None, "csv"),
        ("a.csv.gz", None, "csv"),
        ("folder.csv/a", None, "parquet"),
        ("a.txt", "csv", "csv"),
        ("*.csv", None, "csv"),
    ],
)
def test_the_format_of_a_source_is_given_or_seen_in_its_uri(uri: str, given: str | None, kind: str):
    source = {"uri": uri} | ({"format": given} if given else {})
    assert job(source=source).source.kind == kind


def test_a_query_is_taken_as_it_stands():
    sql = "SELECT '{data}' AS id, x FROM t WHERE at >= :start ORDER BY {fn now()}"
    source = job(source={"uri": None, "sql": sql, "conn_id": "warehouse"}).source
    assert (source.sql, source.place) == (sql, "sql:warehouse")


NUMBER = {"type": "int64"}
TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("changes", "place", "expected"),
    [
        ({"start": "2013-2"}, "start", "'2013-2' is not a month"),
        ({"end": "2013-W02"}, "end", "'2013-W02' is not a month"),
        ({"end": "2013-01"}, "end", "2013-01 is before start, 2013-02"),
        ({"schedule": "0 3 * * *"}, "schedule", "does not fit month partitions"),
        ({"inputs": {"x": TEXT | {"min": 1}}}, "inputs.x.min", "min is for numeric types, not for string"),
        ({"inputs": {"x": TEXT | {"max": 1}}}, "inputs.x.max", "max is for numeric types, not for string"),
        ({"inputs": {"x": NUMBER | {"min": 2, "max": 1}}}, "inputs.x.min", "min 2 is above max 1"),
        ({"row_id": ["id", "id"]}, "row_id", "'id' is listed twice"),
        ({"row_id": ["reason"]}, "row_id", "'reason' is a column of the quarantine"),
        ({"row_id": ["row"]}, "row_id", "'row' is a column of the quarantine"),
        ({"output": {"keep": ["y"]}}, "output", "'y' is both an output and a row id or kept column"),
        ({"output": {"prediction": "id"}}, "output", "'id' is both an output and a row id or kept column"),
        ({"output": {"keep": ["partition"]}}, "output", "'partition' is a column of every"),
        ({"output": {"prediction": "model_version"}}, "output", "'model_version' is a column of"),
        ({"output": {"probabilities": {"y": 1}}}, "output", "two outputs have the name 'y'"),
        ({"model": None}, "model", "missing; a job needs a model or a scorer"),
    ],
)  # fmt: skip
def test_fields_that_do_not_fit_each_other_are_named(
    changes: dict[str, Any], place: str, expected: str
):
    assert expected in problems(**changes)[place]


@pytest.mark.parametrize(
    ("kind", "allowed", "wrong"),
    [
        ("string", ["DE", False], "false"),  # what YAML makes of NO
        ("string", ["1", 2], "2"),
        ("int64", [1, "2"], '"2"'),
        ("int64", [1, 2.5], "2.5"),
        ("float64", [1, True], "true"),
        ("boolean", [True, "no"], '"no"'),
    ],
)
def test_an_allowed_value_that_the_column_cannot_have_is_named(
    kind: str, allowed: list[Any], wrong: str
):
    message = problems(inputs={"x": {"type": kind, "allowed": allowed}})
    assert message["inputs.x.allowed"].startswith(f"{wrong} is not of type {kind}")


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("string", ["NO", "1"]),
        ("int8", [1, -2]),
        ("int64", [1, 2.0]),
        ("float32", [1, 2.5]),
        ("boolean", [True]),
        ("date", ["2013-05-07"]),
    ],
)
def test_allowed_values_of_the_columns_own_kind_are_right(kind: str, allowed: list[Any]):
    assert problems(inputs={"x": {"type": kind, "allowed": allowed}}) == {}


def test_probabilities_need_a_model():
    message = problems(model=None, scorer="s.py", output={"probabilities": {"p": 1}})
    assert message == {"output.probabilities": "requires a model with predict_proba"}


@pytest.mark.parametrize(
    ("change", "place", "expected"),
    [
        ({"version": "v2"}, "version", "'v2' is listed twice"),
        ({"in_force_from": "2013-07"}, "in_force_from", "2013-07 is also that of v2"),
        ({"in_force_from": "July"}, "in_force_from", "'July' is not a month"),
        ({"uri": "v1.pkl"}, "sha256", "a file that is not skops can run code when it is loaded"),
        ({"uri": "v1.joblib"}, "sha256", "a file that is not skops can run code when it is loaded"),
    ],
)
def test_a_wrong_model_version_is_named_by_its_place(
    change: dict[str, str], place: str, expected: str
):
    versions = [VERSIONS[0], VERSIONS[1] | change]
    assert expected in problems(model={"versions": versions})[f"model.versions.1.{place}"]


def test_a_joblib_model_with_a_digest_is_right():
    version = {"version": "v1", "uri": "v1.joblib", "in_force_from": "2013-02", "sha256": "0" * 64}
    assert problems(model={"versions": [version]}) == {}


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\n", "a.b", "..", "", "a b", "a\0", "é", "a" * 101]
)
def test_a_name_is_never_a_path(name: str):
    with pytest.raises(ValidationError, match="name"):
        job(name=name)
    version = VERSIONS[0] | {"version": name}
    if name != "a.b":
        with pytest.raises(ValidationError, match="version"):
            job(model={"versions": [version]})
