"""What Airflow, Python, a shell or Windows would fill in within a URI is reported with what to
write.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scoring.errors import JobError
from scoring.job.uri_templates import Roots, check_root_template, check_source_template

SLIPS = [
    ("{data}/{{ ds }}.parquet", "{{ ds }}", "write {year}-{month}-{day}, in single braces"),
    ("{data}/{{ds_nodash}}.parquet", "{{ds_nodash}}", "write {year}{month}{day}, in single braces"),
    ("{{ var.value.data }}/x", "{{ var.value.data }}", "write {data} {models} {year} {month}"),
    ("{{data}}/x", "{{data}}", "write {data}, in single braces"),
    (
        "{data}/{{literal}}.parquet",
        "{{literal}}",
        "is a Jinja template, which is not rendered here",
    ),
    ("{data}/{% if x %}a{% endif %}", "{% if x %}", "is a Jinja template"),
    ("{data}/{{ ds", "{{", "is a Jinja template"),
    ("{data}/%Y-%m.parquet", "%Y %m", "write {year} for %Y, {month} for %m"),
    ("{data}/%Y%m%d/%Y.parquet", "%Y %m %d", "write {year} for %Y, {month} for %m, {day} for %d"),
    ("s3://b/year=%Y/x", "%Y", "is a date format, which is not expanded here"),
    ("https://host/%Y/x", "%Y", "is a date format"),
    ("https://host/a%20b/x?month=%m", "%m", "is a date format"),
    ("{data}/%-m.parquet", "%-m", "write {month} for %-m"),
    ("{data}/%s.parquet", "%s", "write {partition}"),
    (
        "$HOME/x.parquet",
        "$HOME",
        "is not expanded; use {data} (SCORING_DATA) or",
    ),
    ("{data}/${MONTH}.parquet", "${MONTH}", "is not expanded"),
    ("{data}/$(date +%F).parquet", "$(date +%F)", "is not expanded"),
    ("{data}/x_$MONTH.parquet", "$MONTH", "is not expanded"),
    ("%DATA%/x.parquet", "%DATA%", "is not expanded"),
    ("https://host/x?key=${KEY}", "${KEY}", "is not expanded"),
    ("~/x.parquet", "~", "is not expanded, because the home folder depends on the process; write"),
    ("~me/x.parquet", "~me", "is not expanded"),
    ("file://~/x.parquet", "~", "is not expanded"),
    ("C:\\data\\x.parquet", "is a Windows path", "Airflow's workers do not run on Windows; write"),
    ("C:/data/x.parquet", "is a Windows path", ""),
    ("\\\\server\\x.parquet", "is a Windows path", ""),
    ("data\\{month}.parquet", "is a Windows path", ""),
    ("C:\new\table.parquet", "has the control character '\\n'", "write / in paths"),
    (
        "{data}/{yyyy}.parquet",
        "{yyyy} is not a field of a URI; known: ",
        "; did you mean {year}?",
    ),
    (
        "{data}/{ Month }.parquet",
        "{ Month } is not a field of a URI; known: ",
        "; did you mean {month}?",
    ),
    (
        "{data}/{ds}.parquet",
        "{ds} is not a field of a URI; known: ",
        "; did you mean {partition}?",
    ),
    (
        "{data}/{moth}.parquet",
        "{moth} is not a field of a URI; known: ",
        "; did you mean {month}?",
    ),
    ("s3:/bucket/x", "s3:/ is not the start of a URI", "write s3://"),
    ("s3:bucket/x", "s3: is not the start of a URI", "write s3://"),
]


@pytest.mark.parametrize(("template", "what", "remedy"), SLIPS)
def test_what_is_not_filled_in_is_reported_with_what_to_write(
    template: str, what: str, remedy: str
):
    with pytest.raises(ValueError, match="^" + re.escape(what)) as error:
        check_source_template(template)
    assert remedy in str(error.value)


@pytest.mark.parametrize(
    "template",
    [
        "{data}/a b%20c/100%/50%off.parquet",
        "https://example.com/a%20b/%C3%BC%2F.csv",
        "https://example.com/resource.csv?$limit=5&$where=month='{partition}'",
        "https://example.com/~me/{partition}.csv",
        "s3://bucket/part-~1/cost$/{partition}.parquet",
        "./~x/{partition}.parquet",
        "s3://bucket/date=2013-05-07%2000%3A00/x",
    ],
)
def test_what_only_looks_like_it_is_taken_as_it_is(template: str):
    assert check_source_template(template) == template


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{data}/{{ ds }}", "write {data} {models}, in single braces"),
        ("{data}/%Y", "%Y is a date format, and this is one URI for all partitions; remove it"),
        ("$MODELS/v1.skops", "{models} (SCORING_MODELS), or write the path"),
        ("~/v1.skops", "~ is not expanded"),
        ("v1\\a.skops", "is a Windows path"),
    ],
)
def test_nothing_is_filled_in_for_all_partitions_either(template: str, expected: str):
    with pytest.raises(ValueError, match=re.escape(expected)):
        check_root_template(template)


@pytest.mark.parametrize("root", ["~/data", "$HOME/data", "${DATA}"])
def test_a_root_is_not_expanded(monkeypatch: pytest.MonkeyPatch, root: str):
    monkeypatch.setenv("SCORING_DATA", root)
    with pytest.raises(JobError, match=r"^\{data\} is .* is not expanded here; write an absolute"):
        Roots.of(Path("/jobs"))
