"""``check --deep``: all that can be known before a run, from the first rows, with nothing left
behind.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from scoring.cli.main import main
from scoring.errors import (
    ContractError,
    DestinationTakenError,
    ModelError,
    PublicationError,
    ScorerError,
    ScoringError,
    SourceError,
    SourceMissingError,
)
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.rehearsal import partition_with_source, rehearse
from scoring.storage.local import LocalStorage
from tests.s3_server import BUCKET
from tests.scoring.factories import MONTH, Place, as_nobody, in_s3, linear, rows, run_steps, save

STEPS = ["source", "model", "rows", "destination"]


def tried(run: PartitionContext) -> tuple[list[str], Any]:
    """The steps that succeeded, and what was found or raised."""
    steps: list[str] = []
    try:
        found: Any = rehearse(run, on_step=lambda step, _: steps.append(step))
    except ScoringError as error:
        found = error
    return steps, found


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_right_job_passes_all_steps_and_leaves_nothing(place: Place):
    place.source(rows(2500), row_group_size=1000)
    run = place.run()
    before = everything(place.folder)
    steps, found = tried(run)
    assert steps == STEPS
    assert everything(place.folder) == before
    assert not place.out.exists()
    assert (found.source.rows, found.source.files) == (2500, 1)
    assert found.source.bytes == (place.data / "source" / f"{MONTH}.parquet").stat().st_size
    assert (found.model.version, len(found.model.sha256)) == ("v1", 64)
    assert "scikit-learn" in found.runtime_versions
    assert (found.tally.rows_in, found.tally.rows_quarantined) == (100, 0)
    assert found.example == {"id": 1, "y": pytest.approx(2.0)}
    assert found.destination == str(place.out)


def test_what_is_published_stays_as_it_is(place: Place):
    run_steps(place.run())
    before = everything(place.data)
    place.model(linear(5.0), "v2.skops")
    version = {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": MONTH}
    steps, _ = tried(place.run(place.job(model={"versions": [version]})))
    assert steps == STEPS
    assert {k: v for k, v in everything(place.data).items() if "v2" not in k} == before


def test_only_the_beginning_of_the_source_is_read(place: Place, monkeypatch: pytest.MonkeyPatch):
    place.csv("id,x\n" + "\n".join(f"{i},{i}" for i in range(1, 500_001)) + "\nbroken\n")
    monkeypatch.setattr(LocalStorage, "identify", None)  # which would read all for a digest
    steps, found = tried(place.run(place.job(source={"uri": "{data}/source/{partition}.csv"})))
    assert steps == STEPS  # and the last line, which is broken, was not reached
    assert (found.source.rows, found.tally.rows_in) == (None, 100)


def test_rows_that_break_the_contract_are_counted_with_their_reasons(place: Place):
    ids = [1, 1, None, *range(4, 201)]
    table = rows(200, id=ids, x=[1.0, 2.0, 3.0, None, float("inf"), *[1.0] * 195])
    place.source(table)
    steps, found = tried(place.run())
    assert steps == STEPS
    assert found.tally.quarantined == {
        "null_row_id: id": 1,
        "missing_value: x": 1,
        "infinite: x": 1,
        "duplicate_row_id": 1,
    }
    assert "row 4 (id=4, x=None)" in found.tally.summary()
    manifest = run_steps(place.run())
    assert manifest.rows.reasons == found.tally.quarantined


def test_rows_without_a_prediction_are_counted_too(place: Place):
    code = "def run(df):\n    return (1 / (df.x - 3)).to_frame('y')"
    _, found = tried(place.run(place.job(scorer=place.scorer(code))))
    assert found.tally.quarantined == {"infinite_prediction: y": 1}


@pytest.mark.parametrize(
    ("x", "checks", "error"),
    [
        ([None, *[1.0] * 199], {"max_quarantined_fraction": 0}, "at least 1 of 200 rows"),
        ([None] * 30 + [1.0] * 170, {"max_quarantined_fraction": 0.1}, "at least 30 of 200 rows"),
        ([None] * 30 + [1.0] * 170, {"max_quarantined_fraction": 0.2}, None),
        ([1.0] * 200, {"min_rows": 201}, "200 rows came in, fewer than checks.min_rows, 201"),
        ([], {}, "0 rows came in, fewer than checks.min_rows, 1"),
        ([], {"min_rows": 0}, None),
        ([1.0] * 5, {"min_rows": 6}, "5 rows came in"),
    ],
)
def test_a_partition_that_cannot_pass_its_gates_any_more_fails(
    place: Place, x: list[Any], checks: dict[str, Any], error: str | None
):
    import pyarrow as pa

    place.source(rows(len(x), id=pa.array(range(len(x)), pa.int64()), x=pa.array(x, pa.float64())))
    steps, found = tried(place.run(place.job(checks=checks)))
    if error is None:
        assert steps == STEPS
        return
    assert steps == STEPS[:3]
    assert isinstance(found, ContractError)
    assert error in str(found)


def test_where_rows_are_not_counted_only_zero_tolerance_is_certain(place: Place):
    place.csv("id,x\n" + "\n".join(f"{i},{'' if i < 50 else i}" for i in range(500)))
    source = {"uri": "{data}/source/{partition}.csv"}
    assert tried(place.run(place.job(source=source)))[0] == STEPS
    checks = {"max_quarantined_fraction": 0.1, "min_rows": 400}
    assert tried(place.run(place.job(source=source, checks=checks)))[0] == STEPS
    checks = {"max_quarantined_fraction": 0}
    _, found = tried(place.run(place.job(source=source, checks=checks)))
    assert isinstance(found, ContractError)


def source_missing(place: Place) -> PartitionContext:
    (place.data / "source" / f"{MONTH}.parquet").unlink()
    return place.run()


def column_missing(place: Place) -> PartitionContext:
    return place.run(place.job(inputs={"z": {"type": "float64"}}))


def source_is_another_file(place: Place) -> PartitionContext:
    return place.run(place.job(source={"sha256": {MONTH: "0" * 64}}))


def wrong_kind(place: Place) -> PartitionContext:
    place.source(rows(10, x=["a"] * 10))
    return place.run()


def model_missing(place: Place) -> PartitionContext:
    (place.data / "models" / "v1.skops").unlink()
    return place.run()


def model_is_another_file(place: Place) -> PartitionContext:
    version = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": MONTH}
    return place.run(place.job(model={"versions": [version | {"sha256": "0" * 64}]}))


def model_with_other_inputs(place: Place) -> PartitionContext:
    place.model(linear(columns=("x", "z")))
    return place.run()


def scorer_fails(place: Place) -> PartitionContext:
    return place.run(place.job(scorer=place.scorer("def run(df):\n    raise KeyError('x')")))


def scorer_column_is_taken(place: Place) -> PartitionContext:
    code = "def run(df):\n    return df.assign(y=1.0, month=2.0)"
    return place.run(place.job(scorer=place.scorer(code)))


def destination_is_a_file(place: Place) -> PartitionContext:
    place.out.write_text("")
    return place.run()


def destination_of_another_job(place: Place) -> PartitionContext:
    run = place.run(attempt="b")
    run_steps(run)
    for manifest in place.out.rglob("*.json"):
        manifest.write_text(manifest.read_text().replace('"job": "sample"', '"job": "other"'))
    return place.run()


FAILURES: dict[Callable[[Place], PartitionContext], tuple[int, type[ScoringError]]] = {
    source_missing: (0, SourceMissingError),
    column_missing: (0, SourceError),
    source_is_another_file: (0, SourceError),
    model_missing: (1, ModelError),
    model_is_another_file: (1, ModelError),
    model_with_other_inputs: (1, ModelError),
    wrong_kind: (2, ContractError),
    scorer_fails: (2, ScorerError),
    scorer_column_is_taken: (2, ScorerError),
    destination_is_a_file: (3, PublicationError),
    destination_of_another_job: (3, DestinationTakenError),
}


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.__name__)
def test_what_a_run_would_fail_with_is_raised_before_it(
    place: Place, failure: Callable[[Place], PartitionContext]
):
    run = failure(place)
    before = everything(place.folder)
    steps, found = tried(run)
    number, error = FAILURES[failure]
    assert steps == STEPS[:number]
    assert isinstance(found, error)
    assert everything(place.folder) == before


def test_a_destination_without_the_right_to_write_fails(open_to_all: Path):
    place = Place(open_to_all)
    place.source(rows(10))
    place.model()
    run = place.run(place.job(destination={"uri": "{data}/closed/out"}))
    (place.data / "closed").mkdir(mode=0o755)

    def look() -> None:
        with pytest.raises(PublicationError, match="cannot be written"):
            rehearse(run)

    assert as_nobody(look) == 0
    assert list((place.data / "closed").iterdir()) == []


def test_in_an_object_store_nothing_is_left_either(s3: Any, lake: Place):
    def keys() -> list[str]:
        return [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    before = keys()
    steps, found = tried(in_s3(lake))
    assert (steps, found.source.rows) == (STEPS, 2500)
    assert keys() == before
    assert s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def test_by_default_it_is_the_first_partition_whose_source_is_there(empty: Place):
    run = empty.run()
    assert partition_with_source(run).key == "2013-02"
    for month in ("2013-07", "2013-05"):
        empty.source(rows(1), f"{month}.parquet")
    assert partition_with_source(run).key == "2013-05"
    ended = empty.run(empty.job(end="2013-04"))
    assert partition_with_source(ended).key == "2013-02"


def test_the_command_reports_each_step(place: Place, capsys: pytest.CaptureFixture[str]):
    place.source(rows(2500, x=[None, *[1.0] * 2499]), "2013-04.parquet")
    (place.data / "source" / f"{MONTH}.parquet").unlink()
    place.job()
    where = ["--jobs", str(place.folder), "--data", str(place.data)]
    assert main(["check", "--deep", "sample", *where]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    job, source, model, scored, reason, destination = printed.out.splitlines()
    assert job == f"ok: {place.folder}/sample.yaml is the job sample"
    assert source.startswith("source ok: 2013-04, 2,500 rows, 1 file, ")
    assert model.startswith("model ok: v1, sha256 ")
    assert scored.startswith(
        "scored 99 of the first 100 rows: 1 quarantined; for example id=2, y=2"
    )
    assert reason == "  missing_value: x: 1 row, for example row 1 (id=1, x=None)"
    assert destination == f"destination ok: {place.out} can be written"
    assert not place.out.exists()

    assert main(["check", "--deep", "sample", "2013-04", *where, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["job"], found["partition"]) == ("sample", "2013-04")
    assert found["source"]["rows"] == 2500
    assert found["model"]["version"] == "v1"
    assert found["rows"]["reasons"] == {"missing_value: x": 1}
    assert found["rows"]["scored_example"] == {"id": 2, "y": pytest.approx(2.0)}
    assert found["destination"] == {"uri": str(place.out), "writable": True}


def test_a_model_without_names_is_said_to_get_its_inputs_in_the_order_of_the_job(
    empty: Place, capsys: pytest.CaptureFixture[str]
):
    empty.source(rows(10, z=[1.0] * 10))
    path = empty.data / "models" / "v1.skops"
    model = LinearRegression().fit(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), [0, 1, 2])
    save(model, path)
    inputs = {"z": {"type": "float64"}, "x": {"type": "float64"}}
    empty.job(inputs=inputs)
    where = ["--jobs", str(empty.folder), "--data", str(empty.data)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["check", "--deep", "sample", *where]) == 0
        assert "order of the job file: z, x\n" in capsys.readouterr().out
        assert main(["check", "--deep", "sample", *where, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["model"]["by_position"] == ["z", "x"]
        save(linear(columns=("z", "x")), path)
        assert main(["check", "--deep", "sample", *where]) == 0
        assert "order of the job file" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        ([], 2, "--deep tries one job: check --deep JOB [PARTITION]"),
        (["sample", MONTH, "more"], 2, "--deep tries one job"),
        (["simple"], 2, "there is no job 'simple'"),
        (["sample", "May"], 2, "'May' is not a month"),
        (["sample", "2013-01"], 2, "sample has no partition 2013-01"),
        (["sample", "2013-03"], 3, "the source of sample 2013-03 is not there"),
    ],
)
def test_the_status_is_that_of_the_error(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    expected: str,
):
    place.job()
    where = ["--jobs", str(place.folder), "--data", str(place.data)]
    assert main(["check", "--deep", *arguments, *where, "--json"]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert expected in printed.err


def test_without_deep_json_lists_the_files(place: Place, capsys: pytest.CaptureFixture[str]):
    place.job()
    (place.folder / "broken.yaml").write_text("name: broken\n")
    assert main(["check", "--jobs", str(place.folder), "--json"]) == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out) == [
        {"file": f"{place.folder}/broken.yaml", "valid": False, "stale": []},
        {"file": f"{place.folder}/sample.yaml", "valid": True, "stale": []},
    ]
    assert "broken.yaml is not a valid job file" in printed.err
