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
def told(place: Place) -> dict[str, Any]:
    """A manifest as it stands beside the data."""
    place.source(rows(10, x=[None, *map(float, range(9))]))
    run_steps(place.run())
    found: dict[str, Any] = json.loads((place.out / "_manifests/month=2013-02.json").read_bytes())
    return found


def test_a_manifest_says_what_was_scored_by_what_from_what(place: Place, told: dict[str, Any]):
    job, source = place.folder / "sample.yaml", place.data / "source/2013-02.parquet"
    model, output = place.data / "models/v1.skops", place.out / "month=2013-02/predictions.parquet"

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    assert told["format_version"] == 1
    assert (told["job"], told["job_sha256"]) == ("sample", digest(job))
    assert told["partition"] == "2013-02"
    assert told["interval_start"] == "2013-02-01T00:00:00+00:00"
    assert told["interval_end"] == "2013-03-01T00:00:00+00:00"
    assert told["model"] == {
        "name": "sample",
        "version": "v1",
        "uri": str(model),
        "sha256": digest(model),
        "runtime_versions": {"scikit-learn": sklearn.__version__},
    }
    assert told["scorer_sha256"] is None
    assert told["source"]["files"] == [
        {
            "uri": str(source),
            "bytes": source.stat().st_size,
            "sha256": digest(source),
            "etag": None,
        }
    ]
    assert (told["source"]["uri"], told["source"]["rows"]) == (str(source), 10)
    assert told["rows"] == {
        "in": 10,
        "scored": 9,
        "quarantined": 1,
        "reasons": {"missing_value: x": 1},
    }
    assert told["output"] == {
        "uri": str(output),
        "bytes": output.stat().st_size,
        "sha256": digest(output),
    }
    aside = Path(told["quarantine"]["uri"])
    assert told["quarantine"] == {
        "uri": str(aside),
        "bytes": aside.stat().st_size,
        "sha256": digest(aside),
    }
    assert aside.stem == digest(aside)[:16]
    assert told["statistics"]["y"]["count"] == 9
    assert told["statistics"]["y"]["mean"] == pytest.approx(8.0)
    assert told["run"] == {"by": "test"}
    assert set(told["durations_seconds"]) == {"extract", "score", "upload"}
    assert min(told["durations_seconds"].values()) > 0


def test_the_code_and_the_packages_are_recorded(told: dict[str, Any]):
    assert re.fullmatch(re.escape(scoring.__version__) + r"\+[0-9a-f]{12}", told["code_version"])
    assert told["code_version"] == code_version()
    assert told["packages"]["scikit-learn"] == sklearn.__version__
    assert told["packages"] == package_versions()


def test_a_manifest_is_read_as_it_was_written(told: dict[str, Any]):
    text = json.dumps(told)
    manifest = parse_manifest(text.encode(), "m.json")
    assert json.loads(manifest.to_json()) == told
    assert manifest.to_json().endswith("}\n")


def test_what_a_later_release_adds_is_passed_over(told: dict[str, Any]):
    more = told | {"added": 1, "rows": told["rows"] | {"added": 2}}
    assert parse_manifest(json.dumps(more).encode(), "m.json").rows.scored == 9


@pytest.mark.parametrize("change", [{}, {"rows": "elsewhere"}, {"output": None}])
def test_a_manifest_of_a_newer_format_says_what_to_do(told: dict[str, Any], change: dict[str, Any]):
    newer = told | {"format_version": FORMAT_VERSION + 1} | change
    with pytest.raises(PublicationError) as error:
        parse_manifest(json.dumps(newer).encode(), "here/m.json")
    assert str(error.value) == (
        "here/m.json has format_version 2, and this release reads up to 1: upgrade batch-scoring to "
        "read it"
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
def test_what_is_no_manifest_is_named(content: bytes, where: str):
    with pytest.raises(PublicationError) as error:
        parse_manifest(content, "here/m.json")
    assert str(error.value).startswith("here/m.json is not a manifest: ")
    assert where in str(error.value)


def test_a_field_that_is_wrong_is_named(told: dict[str, Any]):
    wrong = told | {"rows": told["rows"] | {"scored": "many"}}
    with pytest.raises(PublicationError, match=r"is not a manifest: rows\.scored Input should be"):
        parse_manifest(json.dumps(wrong).encode(), "m.json")
