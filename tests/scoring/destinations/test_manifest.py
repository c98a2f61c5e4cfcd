from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import sklearn

import scoring
from scoring.destinations.manifest import (
    FORMAT_VERSION,
    code_version,
    package_versions,
    parse_manifest,
)
from scoring.errors import PublicationError
from tests.scoring.factories import Place, rows, run_steps


@pytest.fixture
def recorded(place: Place) -> dict[str, Any]:
    """A manifest as it stands beside the data."""
    place.source(rows(10, x=[None, *map(float, range(9))]))
    run_steps(place.run())
    found: dict[str, Any] = json.loads((place.out / "_manifests/month=2013-02.json").read_bytes())
    return found


def test_a_manifest_says_what_was_scored_by_what_from_what(place: Place, recorded: dict[str, Any]):
    job, source = place.folder / "sample.yaml", place.data / "source/2013-02.parquet"
    model, output = place.data / "models/v1.skops", place.out / "month=2013-02/predictions.parquet"

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    assert recorded["format_version"] == 1
    assert (recorded["job"], recorded["job_sha256"]) == ("sample", digest(job))
    assert recorded["partition"] == "2013-02"
    assert recorded["interval_start"] == "2013-02-01T00:00:00+00:00"
    assert recorded["interval_end"] == "2013-03-01T00:00:00+00:00"
    assert recorded["model"] == {
        "name": "sample",
        "version": "v1",
        "uri": str(model),
        "sha256": digest(model),
        "format": "skops",
        "runtime_versions": {"scikit-learn": sklearn.__version__},
        "accept": {},
        "files": {},
        "environment": {},
        "trees": {},
        "inputs": None,
        "profile": None,
        "registered": None,
    }
    assert recorded["scorer_sha256"] is None
    assert recorded["source"]["files"] == [
        {
            "uri": str(source),
            "bytes": source.stat().st_size,
            "sha256": digest(source),
            "etag": None,
            "modified_ns": source.stat().st_mtime_ns,
        }
    ]
    assert (recorded["source"]["uri"], recorded["source"]["rows"]) == (str(source), 10)
    assert recorded["rows"] == {
        "in": 10,
        "scored": 9,
        "quarantined": 1,
        "left_out": 0,
        "reasons": {"missing_value: x": 1},
        "left_out_reasons": {},
    }
    assert recorded["output"] == {
        "uri": str(output),
        "bytes": output.stat().st_size,
        "sha256": digest(output),
    }
    rejected = Path(recorded["quarantine"]["uri"])
    assert recorded["quarantine"] == {
        "uri": str(rejected),
        "bytes": rejected.stat().st_size,
        "sha256": digest(rejected),
    }
    assert rejected.stem == digest(rejected)[:16]
    assert recorded["statistics"]["y"]["count"] == 9
    assert recorded["statistics"]["y"]["mean"] == pytest.approx(8.0)
    assert recorded["run"] == {"by": "test"}
    assert set(recorded["durations_seconds"]) == {"extract", "score", "upload"}
    assert min(recorded["durations_seconds"].values()) > 0


def test_the_code_and_the_packages_are_recorded(recorded: dict[str, Any]):
    assert re.fullmatch(
        re.escape(scoring.__version__) + r"\+[0-9a-f]{12}", recorded["code_version"]
    )
    assert recorded["code_version"] == code_version()
    assert recorded["packages"]["scikit-learn"] == sklearn.__version__
    assert recorded["packages"] == package_versions()


def test_a_manifest_is_read_as_it_was_written(recorded: dict[str, Any]):
    text = json.dumps(recorded)
    manifest = parse_manifest(text.encode(), "m.json")
    assert json.loads(manifest.to_json()) == recorded
    assert manifest.to_json().endswith("}\n")


def test_what_a_later_release_adds_is_passed_over(recorded: dict[str, Any]):
    more = recorded | {"added": 1, "rows": recorded["rows"] | {"added": 2}}
    assert parse_manifest(json.dumps(more).encode(), "m.json").rows.scored == 9


@pytest.mark.parametrize("change", [{}, {"rows": "elsewhere"}, {"output": None}])
def test_a_manifest_of_a_newer_format_says_what_to_do(
    recorded: dict[str, Any], change: dict[str, Any]
):
    newer = recorded | {"format_version": FORMAT_VERSION + 1} | change
    with pytest.raises(PublicationError) as error:
        parse_manifest(json.dumps(newer).encode(), "here/m.json")
    assert str(error.value) == (
        "here/m.json has format_version 2, and this release reads up to 1: upgrade batch-scoring "
        "to read it"
    )


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"[]", "should be an object"),
        (b'"text"', "should be an object"),
        (b'{"format_version": "new"}', "format_version"),
        (b'{"format_version": 1}', "job Field required"),
        (b"\xff", "Invalid JSON"),
    ],
)
def test_what_is_not_a_manifest_is_named(content: bytes, where: str):
    with pytest.raises(PublicationError) as error:
        parse_manifest(content, "here/m.json")
    assert str(error.value).startswith("here/m.json is not a manifest: ")
    assert where in str(error.value)


def test_a_field_that_is_wrong_is_named(recorded: dict[str, Any]):
    wrong = recorded | {"rows": recorded["rows"] | {"scored": "many"}}
    with pytest.raises(PublicationError, match=r"is not a manifest: rows\.scored Input should be"):
        parse_manifest(json.dumps(wrong).encode(), "m.json")
