"""A service that answers otherwise than a month is published is found out, row and column."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.cli.main import main
from scoring.destinations.manifest import Manifest
from scoring.pipeline.context import PartitionContext
from tests.scoring.factories import MONTH, Place, layout, rows, run_steps
from tests.scoring.serving.small_service import Row, SmallService, serving

BODIES = pytest.mark.parametrize("body", [[], ["--arrow"]], ids=["json", "arrow"])


def month(**columns: Any) -> pa.Table:
    """25 rows: the 4th has no x, the 7th an infinite one, the 9th the id of the 2nd."""
    x = [float(i) / 3 for i in range(1, 26)]
    x[3], x[6] = None, float("inf")
    ids = [*range(1, 9), 2, *range(10, 26)]
    return rows(25, **{"x": x, "id": ids} | columns)


@pytest.fixture
def run(empty: Place) -> PartitionContext:
    """The month, published."""
    empty.source(month())
    empty.model()
    run = empty.run()
    run_steps(run)
    return run


@pytest.fixture
def service(run: PartitionContext) -> Iterator[SmallService]:
    with serving(SmallService(run)) as service:
        yield service


class Outcome:
    """What the command has printed, and the report that it has written."""

    def __init__(self, status: int, out: str, err: str, report: Path) -> None:
        self.status, self.out, self.err = status, out, err
        self.report: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}

    @property
    def differences(self) -> list[tuple[Any, ...]]:
        first = self.report["differences"]["first"]
        return [(d["row"], d["column"], d["published"], d["answered"]) for d in first]


Parity = Callable[..., Outcome]


@pytest.fixture
def parity(empty: Place, capsys: pytest.CaptureFixture[str]) -> Parity:
    """Runs the command on the sample job."""

    def call(url: str, *options: str) -> Outcome:
        capsys.readouterr()
        report = empty.folder / "report.json"
        report.unlink(missing_ok=True)
        places = ("--jobs", str(empty.folder), "--data", str(empty.data))
        asked = ("--url", url, "--report", str(report), "--rows-per-request", "4")
        status = main(["parity", "sample", MONTH, *asked, *places, *options])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err, report)

    return call


def published(run: PartitionContext) -> Manifest:
    manifest = run.publisher.published(run.partition)
    assert manifest is not None
    return manifest


def republish(run: PartitionContext, which: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Changes a published file, and its manifest so that it describes the changed file."""
    path = Path(layout(run).manifest(run.partition.path))
    found = json.loads(path.read_text())
    record = found[which]
    file = Path(record["uri"])
    pq.write_table(change(pq.ParquetFile(file).read()), file, store_schema=False)
    record |= {
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    path.write_text(json.dumps(found))


def replaced(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array(values, table.schema.field(name).type))


@BODIES
def test_a_service_that_answers_as_published_passes(
    run: PartitionContext, service: SmallService, parity: Parity, body: list[str], empty: Place
):
    before = {path: (empty.out / path).read_bytes() for path in empty.files()}
    found = parity(service.url, *body)
    assert (found.status, found.err) == (0, "")
    assert "answers 25 rows as they are published with model version v1" in found.out
    assert "22 scored with the same bits in y, 2 quarantined, 0 left out" in found.out
    assert "1 rows were not compared" in found.out
    manifest = published(run)
    assert found.report == {
        "job": "sample",
        "partition": MONTH,
        "url": service.url,
        "version": "v1",
        "same": True,
        "sent_as": "arrow" if body else "json",
        "sha256": {
            "model": manifest.model.sha256,
            "output": manifest.output.sha256,
            "quarantine": manifest.quarantine and manifest.quarantine.sha256,
            "left_out": None,
            "source": manifest.source.sha256,
        },
        "source_changed": False,
        "columns": ["y"],
        "rows": {
            "in": 25, "scored": 22, "quarantined": 2, "left_out": 0, "duplicate_row_id": 1,
        },
        "differences": {"count": 0, "by_column": {}, "first": []},
    }  # fmt: skip
    assert sorted(service.rows_of_requests) == [1, 4, 4, 4, 4, 4, 4]
    assert {(path, *parameters.items()) for path, parameters, *_ in service.requests} == {
        ("/v1/jobs/sample/predict", ("as_of", MONTH), ("version", "v1"))
    }
    assert {path: (empty.out / path).read_bytes() for path in empty.files()} == before


def test_json_is_the_report_and_nothing_else(service: SmallService, parity: Parity):
    found = parity(service.url, "--json")
    assert (found.status, found.err) == (0, "")
    assert json.loads(found.out) == found.report
    assert parity(service.url, "--json").report == found.report


@BODIES
def test_one_bit_of_one_prediction_is_found(
    run: PartitionContext, service: SmallService, parity: Parity, body: list[str]
):
    def change(table: pa.Table) -> pa.Table:
        y = table.column("y").to_numpy().copy()
        y[10] = np.nextafter(y[10], np.inf)
        return replaced(table, "y", list(y))

    right = SmallService(run).answers[("14",)]["y"]
    republish(run, "output", change)
    found = parity(service.url, *body)
    assert found.status == 8
    assert found.differences == [(14, "y", repr(float(np.nextafter(right, np.inf))), repr(right))]
    assert found.report["differences"]["by_column"] == {"y": 1}
    assert not found.report["same"]
    assert "1 difference (y 1). Nothing was changed" in found.err
    assert f"row 14 (id=14): y is published as {np.nextafter(right, np.inf)}" in found.err
    assert "`scoring verify` shows whether a batch still gives what is published" in found.err


def test_minus_zero_is_not_zero(run: PartitionContext, service: SmallService, parity: Parity):
    republish(run, "output", lambda t: replaced(t, "y", [0.0] * t.num_rows))
    service.change = lambda found: [{**row, **({"y": -0.0} if "y" in row else {})} for row in found]
    found = parity(service.url)
    assert found.status == 8
    assert found.report["differences"]["count"] == 22
    assert found.differences[0] == (1, "y", "0.0", "-0.0")


@BODIES
@pytest.mark.parametrize(
    ("column", "value", "row"),
    [("reason", "above_max", 4), ("column", "id", 7), ("value", "-inf", 7)],
)
def test_another_reason_column_or_value_of_a_quarantined_row_is_found(
    run: PartitionContext, service: SmallService, parity: Parity, body: list[str],
    column: str, value: str, row: int,
):  # fmt: skip
    was = service.answers[(str(row),)][column]
    service.answers[(str(row),)][column] = value
    found = parity(service.url, *body)
    assert (found.status, found.differences) == (8, [(row, column, was, value)])


@BODIES
def test_a_quarantined_row_that_is_scored_and_the_other_way_round_are_found(
    run: PartitionContext, service: SmallService, parity: Parity, body: list[str]
):
    service.answers[("4",)] = {"status": "scored", "id": 4, "y": 1.0}
    service.answers[("5",)] = {"status": "quarantined", "id": 5, "reason": "missing_value",
                               "column": "x", "value": None}  # fmt: skip
    service.answers[("6",)] = {"status": "left_out", "id": 6, "reason": "cancelled"}
    found = parity(service.url, *body)
    assert found.status == 8
    assert found.differences == [
        (4, "status", "quarantined (missing_value)", "scored"),
        (5, "status", "scored", "quarantined (missing_value)"),
        (6, "status", "scored", "left_out (cancelled)"),
    ]
    assert found.report["rows"]["scored"] == 20


@BODIES
def test_a_published_row_that_is_missing_costs_no_other_row(
    run: PartitionContext, service: SmallService, parity: Parity, body: list[str]
):
    republish(run, "output", lambda t: pa.concat_tables([t.slice(0, 4), t.slice(5)]))
    found = parity(service.url, *body)
    assert found.status == 8
    assert found.differences == [
        (6, "status", "not published", "scored"),
        (None, "scored rows", "22", "21"),
    ]
    assert "row 6 (id=6) is not published, and answered as scored" in found.err


def test_a_published_row_that_the_source_does_not_have_costs_no_other_row(
    run: PartitionContext, service: SmallService, parity: Parity
):
    def change(table: pa.Table) -> pa.Table:
        added = replaced(table.slice(4, 1), "id", [99])
        return pa.concat_tables([table.slice(0, 4), added, table.slice(4)])

    republish(run, "output", change)
    found = parity(service.url)
    assert found.status == 8
    assert (None, "status", "scored", "not answered") in found.differences
    assert found.report["differences"]["first"][0]["ids"] == {"id": "99"}
    assert found.report["differences"]["count"] == 2


def test_an_answer_with_another_row_id_is_found(service: SmallService, parity: Parity):
    service.answers[("5",)]["id"] = "five"
    del service.answers[("12",)]["id"]
    service.answers[("15",)]["id"] = 16
    found = parity(service.url)
    assert found.status == 8
    assert found.differences == [
        (5, "id", "5", '"five"'),
        (12, "id", "12", "no such field"),
        (15, "y", str(service.answers[("16",)]["y"]), str(service.answers[("15",)]["y"])),
        (16, "status", "not published", "scored"),
        (None, "status", "scored", "not answered"),
    ]


def test_answers_that_change_places_are_found(service: SmallService, parity: Parity):
    answers = service.answers
    answers[("5",)], answers[("6",)] = answers[("6",)], answers[("5",)]
    found = parity(service.url)
    assert found.differences == [
        (6, "status", "not published", "scored"),
        (None, "status", "scored", "not answered"),
    ]


@BODIES
def test_rows_that_are_not_answered_once_each_are_found(
    service: SmallService, parity: Parity, body: list[str]
):
    def change(answered: list[Row]) -> list[Row]:
        if answered[0]["id"] != 13:
            return answered
        return [answered[0], answered[0], *answered[2:], {**answered[1], "row": 9}]

    service.change = change
    found = parity(service.url, *body)
    assert found.status == 8
    assert found.differences == [
        (13, "status", "one answer", "more than one answer"),
        (14, "status", "scored", "not answered"),
        (None, "row", "1 to 4", "9"),
    ]


@BODIES
def test_a_row_that_repeats_an_id_has_to_be_answered_all_the_same(
    service: SmallService, parity: Parity, body: list[str]
):
    service.change = lambda answered: [row for row in answered if row["id"] != 2]
    found = parity(service.url, *body)
    assert found.differences == [
        (2, "status", "scored", "not answered"),
        (9, "status", "scored", "not answered"),
    ]


@BODIES
def test_another_model_is_found(service: SmallService, parity: Parity, body: list[str]):
    right = service.model["model_sha256"]
    service.model = {"model_version": "v2", "model_sha256": "f" * 64}
    found = parity(service.url, *body, "--rows-per-request", "1000")
    assert found.differences == [
        (1, "model_version", "v1", "v2"),
        (1, "model_sha256", right, "f" * 64),
    ]


@pytest.mark.parametrize("answered", ["1.5", True, None, [1]], ids=repr)
def test_a_value_of_another_kind_is_found(service: SmallService, parity: Parity, answered: Any):
    service.answers[("5",)]["y"] = answered
    found = parity(service.url)
    shown = "null" if answered is None else json.dumps(answered)
    assert [d[:2] + d[3:] for d in found.differences] == [(5, "y", shown)]
    del service.answers[("5",)]["y"]
    assert parity(service.url).differences[0][3] == "no such field"


def test_a_job_that_shows_no_values_shows_none(
    empty: Place, run: PartitionContext, service: SmallService, parity: Parity
):
    empty.job(checks={"examples": 0})
    service.answers[("12",)]["y"] = 777.0
    service.answers[("7",)]["value"] = "778"
    found = parity(service.url)
    assert found.status == 8
    assert found.differences == [(7, "value", None, None), (12, "y", None, None)]
    assert [d["ids"] for d in found.report["differences"]["first"]] == [None, None]
    assert "row 12: y differs" in found.err
    assert "77" not in found.err.replace(service.url, "")


def test_many_differences_are_counted_and_the_first_ones_shown(
    service: SmallService, parity: Parity, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("scoring.serving.parity.differences.KEPT", 7)
    for answer in service.answers.values():
        if answer["status"] == "scored":
            answer["y"] += 1.0
    found = parity(service.url)
    assert found.report["differences"]["count"] == 22
    assert len(found.differences) == 7
    assert found.err.count("  row ") == 5
    assert "and 17 more" in found.err


class TestLeftOut:
    """Rows 3, 10 and 20 are left out."""

    LEFT = (3, 10, 20)

    def publish(self, empty: Place, keep: bool) -> PartitionContext:
        empty.source(month(off=[i in self.LEFT for i in range(1, 26)]))
        empty.model()
        run = empty.run(empty.job(leave_out={"is_off": "off"}, output={"keep_left_out": keep}))
        run_steps(run)
        return run

    def service(self, run: PartitionContext, left: tuple[int, ...] = LEFT) -> SmallService:
        service = SmallService(run)
        service.left_out = lambda row: "is_off" if row["id"] in left else None
        return service

    @BODIES
    @pytest.mark.parametrize("keep", [False, True])
    def test_they_are_compared(self, empty: Place, parity: Parity, keep: bool, body: list[str]):
        with serving(self.service(self.publish(empty, keep))) as service:
            found = parity(service.url, *body)
        assert (found.status, found.err) == (0, "")
        assert found.report["rows"]["left_out"] == 3

    @pytest.mark.parametrize("keep", [False, True])
    def test_another_reason_is_found(self, empty: Place, parity: Parity, keep: bool):
        with serving(self.service(self.publish(empty, keep))) as service:
            service.left_out = lambda row: (
                None if row["id"] not in self.LEFT else "other" if row["id"] == 10 else "is_off"
            )
            found = parity(service.url)
        assert found.status == 8
        if keep:
            assert found.differences == [(10, "reason", "is_off", "other")]
        else:
            assert found.differences == [
                (None, "left_out: is_off", "3", "2"),
                (None, "left_out: other", "0", "1"),
            ]

    @pytest.mark.parametrize("keep", [False, True])
    def test_a_row_too_many_and_one_too_few_are_found(
        self, empty: Place, parity: Parity, keep: bool
    ):
        with serving(self.service(self.publish(empty, keep), left=(3, 10, 19))) as service:
            service.answers[("20",)] = {"status": "scored", "id": 20, "y": 1.0}
            found = parity(service.url)
        assert found.status == 8
        if keep:
            assert found.differences == [
                (19, "status", "scored", "left_out (is_off)"),
                (20, "status", "left_out (is_off)", "scored"),
            ]
        else:
            assert sorted(found.differences, key=str) == [
                (20, "status", "not published", "scored"),
                (None, "status", "scored", "not answered"),
            ]


def test_a_source_that_has_changed_is_said(
    empty: Place, run: PartitionContext, service: SmallService, parity: Parity
):
    table = month()
    empty.source(table, compression="none")
    found = parity(service.url)
    assert found.status == 0
    assert "have changed since the partition was published; the answers are those" in found.out
    empty.source(table.slice(0, 20))
    found = parity(service.url)
    assert found.status == 8
    assert found.report["source_changed"]
    assert found.differences == [
        (None, "scored rows", "5 more", "not in the source"),
        (None, "rows in", "25", "20"),
    ]
    assert f"{MONTH}.parquet has changed since this was published: score sample" in found.err


def test_a_published_file_that_is_another_one_is_not_compared(
    run: PartitionContext, service: SmallService, parity: Parity
):
    path = Path(published(run).output.uri)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    found = parity(service.url)
    assert found.status == 8
    assert "is not what was published" in found.err
    assert service.requests == []


def test_a_month_that_is_not_published_is_not_compared(place: Place, parity: Parity):
    place.job()
    found = parity("http://127.0.0.1:9")
    assert (found.status, found.report) == (8, {})
    assert f"nothing is published for sample {MONTH}" in found.err


def test_texts_of_csv_are_sent_as_csv(empty: Place, parity: Parity):
    empty.csv('id,x,note\n1,2.50,"a ""b"", c"\n2,,\n3,abc,é\n')
    empty.model()
    source = {"uri": "{data}/source/{partition}.csv"}
    run = empty.run(empty.job(source=source, output={"keep": ["note"]}))
    run_steps(run)
    with serving(SmallService(run)) as service:
        found = parity(service.url)
        assert (found.status, found.err) == (0, "")
        assert found.report["sent_as"] == "csv"
        assert {kind for _, _, kind, _ in service.requests} == {"text/csv"}
        found = parity(service.url, "--arrow")
    assert found.status == 2
    assert "its texts are sent as CSV. Leave --arrow out" in found.err
