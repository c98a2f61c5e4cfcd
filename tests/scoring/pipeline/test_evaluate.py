"""Actuals: joined by row id with what is published, and compared with scikit-learn's own figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from scoring.cli.main import main
from scoring.errors import (
    ContractError,
    JobError,
    PublicationError,
    SourceColumnsError,
    SourceMissingError,
)
from scoring.job.loader import load_job
from scoring.monitoring.evaluation import Evaluation
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.evaluate import evaluate, evaluation_uri, read_evaluation
from scoring.pipeline.evaluations_due import evaluations_due
from tests.s3_server import BUCKET
from tests.scoring.factories import Place, in_s3, rows, run_steps

ACTUALS: dict[str, Any] = {"source": {"uri": "{data}/truth/{partition}.parquet"}, "column": "truth"}


def truth(place: Place, table: pa.Table, name: str = "2013-02.parquet") -> None:
    path = place.data / "truth" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def published(place: Place, count: int = 10, **changes: Any) -> PartitionContext:
    """The sample job with actuals, and its month published: y = 2 * x = 2 * id."""
    place.source(rows(count))
    place.model()
    run = place.run(place.job(**({"actuals": ACTUALS} | changes)))
    run_steps(run)
    return run


def predictions(run: PartitionContext) -> pd.DataFrame:
    return pq.read_table(run.publisher.published(run.partition).output.uri).to_pandas()  # type: ignore[union-attr]


def test_the_figures_of_numbers_are_those_of_scikit_learn(place: Place):
    run = published(place, 5000)
    noise = np.random.default_rng(3).normal(0.5, 3.0, 5000)
    ids = np.random.default_rng(4).permutation(np.arange(1, 5001))
    actual = 2.0 * ids + noise
    truth(place, pa.table({"id": ids, "truth": actual}))
    found = evaluate(run)
    y = predictions(run).set_index("id").loc[ids, "y"].to_numpy()
    assert found.regression is not None
    assert found.regression.model_dump() == pytest.approx(
        {
            "rmse": root_mean_squared_error(actual, y),
            "mae": mean_absolute_error(actual, y),
            "bias": float(np.mean(y - actual)),
            "r2": r2_score(actual, y),
        }
    )
    assert found.rows.model_dump() == {
        "published": 5000,
        "with_actual": 5000,
        "without_actual": 0,
        "ambiguous": 0,
        "without_prediction": 0,
        "rejected": {},
    }
    assert (found.model_version, found.partition) == ("v1", "2013-02")
    assert read_evaluation(run) == found
    assert found.is_of(run.publisher.published(run.partition))  # type: ignore[arg-type]


def classified(place: Place, classes: list[Any], outputs: dict[str, Any], **actuals: Any) -> Any:
    """A classifier's month of 3,000 rows; returns the run, its predictions and the true classes."""
    rng = np.random.default_rng(11)
    x = rng.normal(size=3000)
    limits = [0.0] if len(classes) == 2 else [-0.5, 0.7]
    labels = np.array(classes)[np.digitize(x + rng.normal(0, 0.7, 3000), limits)]
    place.source(rows(3000, x=x))
    place.model(LogisticRegression().fit(pd.DataFrame({"x": x}), labels))
    run = place.run(
        place.job(
            output={"prediction": "y", "probabilities": outputs}, actuals={**ACTUALS, **actuals}
        )
    )
    run_steps(run)
    truth(place, pa.table({"id": np.arange(1, 3001), "truth": labels}))
    return run, predictions(run), labels


@pytest.mark.parametrize("classes", [[0, 1], ["no", "yes"], [False, True]])
def test_the_figures_of_two_classes_are_those_of_scikit_learn(place: Place, classes: list[Any]):
    run, found, actual = classified(place, classes, {"p": classes[1]})
    figures = evaluate(run).classification
    assert figures is not None
    assert figures.accuracy == pytest.approx(accuracy_score(actual, found["y"]))
    assert figures.log_loss is None  # one class only has a probability
    (one,) = figures.classes
    is_class = actual == classes[1]
    assert one.rows == is_class.sum()
    assert one.auc == pytest.approx(roc_auc_score(is_class, found["p"]))
    assert one.log_loss == pytest.approx(log_loss(is_class, found["p"]))
    assert one.brier == pytest.approx(brier_score_loss(is_class, found["p"]))
    assert sum(each.rows for each in one.calibration) == 3000
    for each in one.calibration:
        within = np.minimum(np.floor(found["p"] * 10), 9) == round(each.at_least * 10)
        assert each.rows == within.sum()
        assert each.predicted == pytest.approx(found["p"][within].mean())
        assert each.actual == pytest.approx(is_class[within].mean())


def test_the_log_loss_of_three_classes_is_that_of_scikit_learn(place: Place):
    outputs = {"p_a": "a", "p_b": "b", "p_c": "c"}
    run, found, actual = classified(place, ["a", "b", "c"], outputs)
    figures = evaluate(run).classification
    assert figures is not None
    probabilities = found[list(outputs)].to_numpy()
    assert figures.log_loss == pytest.approx(
        log_loss(actual, probabilities, labels=["a", "b", "c"])
    )
    for one in figures.classes:
        expected = roc_auc_score(actual == one.label, found[one.column])
        assert one.auc == pytest.approx(expected)


def test_a_class_without_a_probability_has_no_log_loss(place: Place):
    run, _, _ = classified(place, ["a", "b", "c"], {"p_a": "a", "p_b": "b"})
    figures = evaluate(run).classification
    assert figures is not None
    assert figures.log_loss is None


def test_equal_probabilities_count_half(place: Place):
    place.source(rows(4, x=[1.0, 1.0, 1.0, 1.0]))
    place.model(LogisticRegression().fit(pd.DataFrame({"x": [0.0, 1.0]}), [0, 1]))
    run = place.run(
        place.job(output={"prediction": "y", "probabilities": {"p": 1}}, actuals=ACTUALS)
    )
    run_steps(run)
    truth(place, pa.table({"id": [1, 2, 3, 4], "truth": [0, 1, 1, 0]}))
    figures = evaluate(run).classification
    assert figures is not None
    assert figures.classes[0].auc == 0.5


def test_every_row_is_accounted_for(place: Place):
    run = published(place, 10)
    table = pa.table(
        {
            # 1 known, 2 null, 3 NaN, 4 twice the same, 5 two that differ, 6 a null beside a value,
            # 99 not published, and a row without an id
            "id": [1, 2, 3, 4, 4, 5, 5, 6, 6, 99, None],
            "truth": [2.0, None, float("nan"), 8.0, 8.0, 1.0, 2.0, None, 12.0, 1.0, 1.0],
        }
    )
    truth(place, table)
    found = evaluate(run)
    assert found.rows.model_dump() == {
        "published": 10,
        "with_actual": 3,
        "without_actual": 6,
        "ambiguous": 1,
        "without_prediction": 1,
        "rejected": {"null_row_id: id": 1},
    }
    assert found.regression is not None
    assert found.regression.rmse == pytest.approx(0.0, abs=1e-12)


def test_without_pairs_there_are_no_figures(place: Place):
    run = published(place)
    truth(place, pa.table({"id": [77, 78], "truth": [1.0, 2.0]}))
    found = evaluate(run)
    assert found.rows.with_actual == 0
    assert set(found.figures.values()) == {None}
    assert found.warning is not None
    assert "none of the 2 row ids" in found.warning


def test_one_true_value_has_no_r2(place: Place):
    run = published(place)
    truth(place, pa.table({"id": [1, 2], "truth": [3.0, 3.0]}))
    figures = evaluate(run).regression
    assert figures is not None
    assert figures.r2 is None
    assert figures.bias == pytest.approx(0.0, abs=1e-12)


def test_infinite_and_wrong_truths_are_rejected_by_reason(place: Place):
    run = published(place)
    truth(place, pa.table({"id": [1, 2], "truth": [2.0, float("inf")]}))
    assert evaluate(run).rows.rejected == {"infinite: truth": 1}


IDS: dict[str, Callable[[int], Any]] = {
    "int32": lambda n: pa.array(range(1, n + 1), pa.int32()),
    "double": lambda n: pa.array([float(i) for i in range(1, n + 1)]),
    "decimal": lambda n: pa.array(range(1, n + 1), pa.int64()).cast(pa.decimal128(25, 2)),
}


@pytest.mark.parametrize("kind", IDS)
def test_the_same_ids_in_another_type_are_the_same_rows(place: Place, kind: str):
    run = published(place)
    truth(place, pa.table({"id": IDS[kind](10), "truth": [2.0 * i for i in range(1, 11)]}))
    found = evaluate(run)
    assert found.rows.with_actual == 10
    assert found.regression is not None
    assert found.regression.rmse == pytest.approx(0.0, abs=1e-12)


def test_ids_of_another_kind_are_an_error(place: Place):
    run = published(place)
    truth(place, pa.table({"id": ["1", "2"], "truth": [2.0, 4.0]}))
    with pytest.raises(SourceColumnsError, match=r"'id' does not identify rows .* actuals\.row_id"):
        evaluate(run)
    assert read_evaluation(run) is None


def test_csv_ids_are_read_in_the_types_of_the_predictions(place: Place):
    run = published(place, actuals={**ACTUALS, "source": {"uri": "{data}/truth/{partition}.csv"}})
    path = place.data / "truth" / "2013-02.csv"
    path.parent.mkdir()
    path.write_text("id,truth\n1,2.0\n2,4\n3,\nx,1\n")
    found = evaluate(run)
    assert found.rows.with_actual == 2
    assert found.rows.rejected == {"wrong_type: id": 1}


def test_other_names_several_columns_and_derived_truth(place: Place):
    table = rows(6, site=["a", "b"] * 3)
    place.source(table)
    place.model()
    actuals = {
        "source": {
            "uri": "{data}/truth/{partition}.parquet",
            "derive": {"truth": "seconds / 60.0"},
        },
        "column": "truth",
        "row_id": ["place", "number"],
    }
    run = place.run(place.job(row_id=["site", "id"], actuals=actuals))
    run_steps(run)
    truth(
        place,
        pa.table({"number": [1, 2, 1], "place": ["a", "b", "b"], "seconds": [120.0, 240.0, 0.0]}),
    )
    found = evaluate(run)
    assert (found.rows.with_actual, found.rows.without_prediction) == (2, 1)
    assert found.regression is not None
    assert found.regression.rmse == pytest.approx(0.0, abs=1e-12)


def test_an_expression_that_fails_names_its_place_in_the_actuals(place: Place):
    source = ACTUALS["source"] | {"derive": {"truth": "nothing + 1"}}
    run = published(place, actuals={"source": source, "column": "truth"})
    truth(place, pa.table({"id": [1], "other": [1]}))
    with pytest.raises((JobError, SourceColumnsError), match="nothing"):
        evaluate(run)


def test_rows_known_by_their_place_are_those_of_the_same_file(place: Place):
    place.source(rows(5, truth=[2.0, 4.0, 6.0, 8.0, 11.0]))
    place.model()
    actuals = {"source": {"uri": "{data}/source/{partition}.parquet"}, "column": "truth"}
    run = place.run(place.job(row_id="row_number", actuals=actuals))
    run_steps(run)
    figures = evaluate(run).regression
    assert figures is not None
    assert figures.mae == pytest.approx(0.2)
    place.source(rows(5, truth=[0.0, 4.0, 6.0, 8.0, 11.0]))
    with pytest.raises(SourceColumnsError, match="has changed since sample 2013-02 was scored"):
        evaluate(run)


def test_integers_may_be_classes_or_numbers(place: Place):
    labels = LogisticRegression().fit(pd.DataFrame({"x": [0.0, 9.0]}), [0, 1])
    place.source(rows(10))
    place.model(labels)
    truth(place, pa.table({"id": [1, 2], "truth": [0, 1]}))
    run = place.run(place.job(actuals=ACTUALS))
    run_steps(run)
    with pytest.raises(JobError, match=r"actuals\.task: missing; the predictions are int64"):
        evaluate(run)
    run = place.run(place.job(actuals={**ACTUALS, "task": "classification"}))
    figures = evaluate(run).classification
    assert figures is not None
    assert figures.accuracy == 0.5


def test_what_is_missing_says_so(place: Place):
    place.source(rows(10))
    place.model()
    run = place.run(place.job(actuals=ACTUALS))
    with pytest.raises(PublicationError, match="nothing is published for sample 2013-02"):
        evaluate(run)
    run_steps(run)
    with pytest.raises(SourceMissingError, match="truth/2013-02"):
        evaluate(run)
    with pytest.raises(JobError, match="has no actuals"):
        evaluate(place.run(place.job()))


def test_what_another_job_has_published_is_not_evaluated(place: Place):
    run = published(place)
    truth(place, pa.table({"id": [1], "truth": [2.0]}))
    assert due(place) == ["2013-02"]
    path = run.job_file.path.with_name("other.yaml")
    path.write_text(run.job_file.path.read_text().replace("name: sample", "name: other"))
    other = replace(run, job_file=load_job(path))
    with pytest.raises(PublicationError, match="is the job sample's"):
        evaluate(other)
    assert evaluations_due(other, NOW) == []


def test_a_truth_that_is_text_is_refused(place: Place):
    run = published(place)
    truth(place, pa.table({"id": [1], "truth": ["often"]}))
    with pytest.raises(ContractError, match="truth"):
        evaluate(run)


def test_an_evaluation_of_what_is_published_no_more(place: Place):
    run = published(place)
    truth(place, pa.table({"id": [1], "truth": [2.0]}))
    evaluate(run)
    place.source(rows(11))
    run_steps(run)
    manifest = run.publisher.published(run.partition)
    found = read_evaluation(run)
    assert manifest is not None
    assert found is not None
    assert not found.is_of(manifest)


def test_the_same_pairs_give_the_same_bytes(place: Place):
    run = published(place, 2000)
    noise = np.random.default_rng(3).normal(0.5, 3.0, 2000)
    truth(place, pa.table({"id": range(1, 2001), "truth": 2.0 * np.arange(1, 2001) + noise}))
    evaluate(run)
    first = run.storage.read(evaluation_uri(run))
    evaluate(run)
    assert run.storage.read(evaluation_uri(run)) == first


@pytest.mark.integration
def test_in_s3(place: Place, s3: Any):
    place.source(rows(10))
    place.model()
    truth(place, pa.table({"id": [1, 2], "truth": [2.0, 5.0]}))
    for path in place.data.rglob("*.*"):
        s3.upload_file(str(path), BUCKET, f"lake/{path.relative_to(place.data)}")
    run = in_s3(place, actuals=ACTUALS)
    run_steps(run)
    figures = evaluate(run).regression
    assert figures is not None
    assert figures.mae == pytest.approx(0.5)
    assert read_evaluation(run) is not None


# The command.


def ran(place: Place, *arguments: str) -> int:
    job = str(place.folder / "sample.yaml")
    return main(["evaluate", job, *arguments, "--data", str(place.data)])


def three_months(place: Place) -> None:
    for month, error in (("2013-02", 0.5), ("2013-03", 1.5), ("2013-04", 2.5)):
        place.source(rows(10), f"{month}.parquet")
        place.model()
        run_steps(place.run(place.job(actuals=ACTUALS), month))
        actual = [2.0 * i + error for i in range(1, 11)]
        truth(place, pa.table({"id": range(1, 11), "truth": actual}), f"{month}.parquet")


def test_three_months_are_joined_and_shown(place: Place, capsys: pytest.CaptureFixture[str]):
    three_months(place)
    place.source(rows(10), "2013-05.parquet")
    run_steps(place.run(place.job(actuals=ACTUALS), "2013-05"))
    assert ran(place) == 0
    shown = capsys.readouterr()
    for month, error in (("2013-02", "0.5"), ("2013-03", "1.5"), ("2013-04", "2.5")):
        (line,) = [line for line in shown.out.splitlines() if month in line]
        assert line.split()[:6] == [month, "v1", "10", "10", error, error]
    assert "2013-05" not in shown.out
    assert "no actuals yet" in shown.err
    assert ran(place, "2013-03..2013-04", "--json") == 0
    found = [Evaluation.model_validate(one) for one in json.loads(capsys.readouterr().out)]
    assert [one.regression and one.regression.bias for one in found] == pytest.approx([-1.5, -2.5])


def test_a_month_that_is_asked_for_has_to_have_actuals(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    three_months(place)
    (place.data / "truth" / "2013-03.parquet").unlink()
    assert ran(place, "2013-02..2013-04") == 3
    shown = capsys.readouterr()
    assert "truth/2013-03.parquet" in shown.err
    assert "2013-04" in shown.out


def test_the_calibration_of_one_month_is_printed(
    place: Place, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    classified(place, [0, 1], {"p": 1})
    assert ran(place, "2013-02") == 0
    shown = capsys.readouterr().out
    assert "p, the probability of 1:" in shown
    assert "0.9 to 1.0" in shown


# Which partitions are due.

NOW = datetime(2013, 6, 1, tzinfo=UTC)


def due(place: Place, now: datetime = NOW, **changes: Any) -> list[str]:
    run = place.run(place.job(**({"actuals": ACTUALS} | changes)))
    return [partition.key for partition in evaluations_due(run, now)]


def test_what_was_never_evaluated_or_has_other_actuals_is_due(place: Place):
    three_months(place)
    (place.data / "truth" / "2013-03.parquet").unlink()
    assert due(place) == ["2013-02", "2013-04"]
    for key in ("2013-02", "2013-04"):
        evaluate(place.run(place.job(actuals=ACTUALS), key))
    assert due(place) == []
    truth(place, pa.table({"id": range(1, 11), "truth": [1.0] * 10}))
    assert due(place) == ["2013-02"]


def test_what_was_published_again_is_due(place: Place):
    three_months(place)
    for key in ("2013-02", "2013-03", "2013-04"):
        evaluate(place.run(place.job(actuals=ACTUALS), key))
    place.source(rows(9), "2013-03.parquet")
    run_steps(place.run(place.job(actuals=ACTUALS), "2013-03"))
    assert due(place) == ["2013-03"]


def test_actuals_that_were_removed_are_not_due(place: Place):
    three_months(place)
    evaluate(place.run(place.job(actuals=ACTUALS), "2013-02"))
    for path in (place.data / "truth").iterdir():
        path.unlink()
    assert due(place) == []


def test_a_query_is_due_until_its_rows_cannot_be_expected_any_more(place: Place):
    three_months(place)
    query = {
        "source": {"sql": "SELECT id, truth FROM t ORDER BY id", "conn_id": "lake"},
        "column": "truth",
    }
    every = ["2013-02", "2013-03", "2013-04"]
    assert due(place, actuals=query) == every
    evaluate(place.run(place.job(actuals=ACTUALS), "2013-02"))
    assert due(place, datetime(2013, 5, 29, 23, tzinfo=UTC), actuals=query) == every
    assert due(place, datetime(2013, 5, 30, 1, tzinfo=UTC), actuals=query) == every[1:]
