from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from scoring.errors import JobError
from scoring.job.partitions import parse_key
from scoring.job.uri_templates import (
    Roots,
    check_root_template,
    check_source_template,
    is_pattern,
    without_query,
)

MAY = parse_key("2013-05", "month", ZoneInfo("UTC"))


@pytest.mark.parametrize(
    "template",
    [
        "flights.parquet",
        "/srv/flights/*.csv",
        "file:///srv/flights/{partition}.parquet",
        "{data}/year={year}/month={month}/day={day}/hour={hour}/w{week}.parquet",
        "{models}/v1.skops",
        "https://example.com/{year}/{month}.csv.gz?download=1",
        "https://[::1]:8443/{partition}.parquet",
    ],
)
def test_templates_of_known_fields_are_taken_as_they_are(template: str):
    assert check_source_template(template) == template


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{data}/{moth}.parquet", "{moth} is not a field of a URI; known: data, models, year"),
        ("{data}/{}.parquet", "{} is not a field of a URI"),
        ("{data}/{0}.parquet", "{0} is not a field of a URI"),
        ("{data}/{year.real}.parquet", "{year.real} is not a field of a URI"),
        ("{data}/{month:03}.parquet", "{month:03} is not a field of a URI"),
        ("{data}/{month!r}.parquet", "{month!r} is not a field of a URI"),
        ("{data", "'{data' is not a URI template"),
        ("{data}/a}}.csv", "'{data}/a}}.csv' is not a URI template: it has an unmatched }"),
        (
            "ftp://host/x.parquet",
            "ftp:// is not supported; use https://, s3://, file:// or a path",
        ),
        (
            "http://host/x.parquet",
            "http:// is not supported (the rows could be modified in transit); use https://, s3://",
        ),
        ("https://host/{year}/*.parquet", "is a pattern, but https servers cannot list files"),
        ("https://host/[ab].parquet", "is a pattern"),
        ("https://user:secret@host/x.csv", "has a user or password"),
        ("https://user@host/x.csv", "has a user or password"),
        ("https:///x.csv", "has no host or an invalid port"),
        ("https://host:99999/x.csv", "has no host or an invalid port"),
        ("https://[host/x.csv", "has no host or an invalid port"),
    ],
)
def test_a_wrong_template_is_reported_with_what_may_stand_there(template: str, expected: str):
    with pytest.raises(ValueError, match="^" + re.escape(expected)):
        check_source_template(template)


@pytest.mark.parametrize("scheme", ["https", "http", "gs"])
def test_models_and_what_is_published_lie_on_disk_or_in_s3(scheme: str):
    with pytest.raises(ValueError, match=rf"^{scheme}:// is not .*; use s3://, file:// or a path"):
        check_root_template(f"{scheme}://host/models/v1.skops")


def test_a_password_is_not_repeated():
    with pytest.raises(ValueError, match="secrets do not belong in a job file") as error:
        check_source_template("https://user:hunter2@host/x.csv")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("template", "name", "pattern"),
    [
        ("/a/*.csv", "/a/*.csv", True),
        ("/a/b?.csv", "/a/b?.csv", True),
        ("s3://a/[b].csv", "s3://a/[b].csv", True),
        ("{data}/{year}.csv", "{data}/{year}.csv", False),
        ("https://host/a.csv?b=c", "https://host/a.csv", False),
    ],
)
def test_over_https_a_question_mark_begins_the_query(template: str, name: str, pattern: bool):
    assert (without_query(template), is_pattern(template)) == (name, pattern)


@pytest.mark.parametrize(("data", "models"), [("https://host", None), ("/srv", "http://host")])
def test_a_root_must_be_where_things_can_be_published(
    monkeypatch: pytest.MonkeyPatch, data: str, models: str | None
):
    if models:
        monkeypatch.setenv("SCORING_MODELS", models)
    with pytest.raises(
        JobError, match=r"^\{(data|models)\} is an unsupported URI: https?:// is not supported"
    ):
        Roots.of(Path("/jobs"), data)


def test_a_template_for_all_partitions_may_not_name_one():
    assert check_root_template("{data}/predictions") == "{data}/predictions"
    with pytest.raises(
        ValueError, match=r"\{year\} is not a field of this URI .* known: data, models$"
    ):
        check_root_template("{data}/predictions/{year}")


@pytest.mark.parametrize(
    ("template", "uri"),
    [
        ("{data}/y={year}/m={month}/f.parquet", "/srv/y=2013/m=05/f.parquet"),
        ("{data}/{partition}.csv", "/srv/2013-05.csv"),
        ("{models}/v1.skops", "/srv/models/v1.skops"),
        ("file:///x/{month}.csv", "/x/05.csv"),
        ("/x/../y/f.csv", "/y/f.csv"),
        ("flights/{month}.csv", "/jobs/flights/05.csv"),
        ("../flights.csv", "/flights.csv"),
    ],
)
def test_a_template_expands_to_an_absolute_uri(template: str, uri: str):
    assert Roots("/srv", "/srv/models", Path("/jobs")).expand(template, MAY) == uri


def test_braces_in_a_root_are_not_fields():
    assert Roots("/a{b}", "/m", Path("/jobs")).expand("{data}/x", MAY) == "/a{b}/x"


def test_roots_come_from_the_argument_before_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCORING_DATA", "/from/environment")
    monkeypatch.setenv("SCORING_MODELS", "/elsewhere/")
    given = Roots.of(Path("/jobs"), "/given/")
    assert (given.data, given.models) == ("/given", "/elsewhere")
    assert Roots.of(Path("/jobs")).data == "/from/environment"


def test_models_lie_under_the_data_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SCORING_MODELS", raising=False)
    assert Roots.of(Path("/jobs"), "/given").models == "/given/models"


def test_without_a_word_the_data_lies_in_the_folder_of_make(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("SCORING_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Roots.of(Path("jobs")).data == f"{tmp_path}/.run/data"
    assert Roots.of(Path("jobs")).base == tmp_path / "jobs"


def test_relative_data_starts_from_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    assert Roots.of(Path("/jobs"), "my/data").data == f"{tmp_path}/my/data"


@pytest.mark.parametrize(
    "template",
    ["{data.__class__}", "{data[0]}", "{0}", "{}", "{data!r}", "{data:{month}}", "{partition.path}", "{conf}"],
)  # fmt: skip
def test_a_template_reaches_nothing_but_its_fields(template: str):
    with pytest.raises(ValueError, match=r"is not a field|not a URI template"):
        check_source_template(template)


def test_what_a_root_contains_is_not_a_template(tmp_path: Path):
    roots = Roots("/data/{models}", "/models", tmp_path)
    assert roots.expand("{data}/x") == "/data/{models}/x"
