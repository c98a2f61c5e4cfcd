from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tests.plugins.conftest import Start


@pytest.fixture
def extracted(start: Start):
    of = start()
    assert of.run.run(of.extract).state == "success"
    of.score.shard = of.run.returned(of.extract)[1]
    return of


def test_it_predicts_one_shard(extracted) -> None:
    assert extracted.run.run(extracted.score).state == "success"
    scored = extracted.run.returned(extracted.score)
    assert scored["number"] == 1
    assert scored["predictions"]["rows"] == 980
    table = (
        pa.ipc.open_stream(Path(scored["predictions"]["uri"]).read_bytes()).read_all().to_pandas()
    )
    # Shard 1 has the rows 1001 to 2000 but every 50th; a delay is the flight's number modulo 60.
    flights = [i for i in range(1001, 2001) if i % 50]
    assert list(table["flight"]) == flights
    assert list(table["predicted_delay"]) == [2.0 * (i % 60) for i in flights]
    assert set(table["model_version"]) == {"v1"}


def test_it_can_be_run_again(extracted) -> None:
    assert extracted.run.run(extracted.score).state == "success"
    first = extracted.run.returned(extracted.score)
    assert extracted.run.run(extracted.score).state == "success"
    second = extracted.run.returned(extracted.score)
    assert second["predictions"] == first["predictions"]


def test_a_model_that_was_replaced_meanwhile_fails_at_once(extracted, data: Path) -> None:
    (data / "models" / "v1.skops").write_bytes((data / "models" / "v2.skops").read_bytes())
    result = extracted.run.run(extracted.score)
    assert result.state == "failed"
    assert "v1.skops was replaced" in str(result.error)


def test_a_job_file_that_was_changed_meanwhile_says_so(extracted) -> None:
    extracted.job.write_text(extracted.job.read_text() + "# later\n")
    result = extracted.run.run(extracted.score)
    assert f"{extracted.job} has changed since 2013-02 was extracted" in str(result.error)


def test_a_damaged_shard_is_not_scored(extracted) -> None:
    shard = Path(extracted.score.shard["uri"])
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    result = extracted.run.run(extracted.score)
    assert result.state == "up_for_retry"
    assert str(shard) in str(result.error)


def test_cleared_alone_in_a_finished_run_it_succeeds_and_changes_nothing(extracted) -> None:
    of = extracted
    results = []
    for shard in of.run.returned(of.extract):
        of.score.shard = shard
        assert of.run.run(of.score).state == "success"
        results.append(of.run.returned(of.score))
    of.upload.scored = results
    assert of.run.run(of.upload).state == "success"
    before = {p: p.read_bytes() for p in of.published.rglob("*") if p.is_file()}
    result = of.run.run(of.score)
    assert result.state == "success", result.error
    assert {p: p.read_bytes() for p in of.published.rglob("*") if p.is_file()} == before


def test_cleared_alone_it_fails_at_once_when_something_else_is_asked_for_now(extracted) -> None:
    of = extracted
    test_cleared_alone_in_a_finished_run_it_succeeds_and_changes_nothing(of)
    of.extract.model_version = "v2"
    result = of.run.run(of.score)
    assert result.state == "failed"
    assert "and now model version v2 is requested; what was published stays" in str(result.error)
    assert "`airflow tasks clear " in str(result.error)


def test_where_nothing_was_staged_it_says_what_to_clear_and_is_not_tried_again(
    start: Start,
) -> None:
    of = start()
    of.score.shard = {"number": 0, "uri": "nowhere", "rows": 1, "sha256": "0"}
    result = of.run.run(of.score)
    assert result.state == "failed"
    assert "extraction.json is not there; run the whole partition again" in str(result.error)
    assert "`airflow tasks clear " in str(result.error)
