from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info

from scoring.errors import ModelError, ScorerError
from scoring.pipeline import extract as extract_module
from scoring.pipeline.extract import extract
from scoring.pipeline.score import checked_model, score
from scoring.pipeline.staging import Staged, read_staged
from scoring.storage.connections import Connections
from scoring.storage.local import LocalStorage
from tests.scoring.factories import (
    Place,
    extracted,
    in_shards_of,
    linear,
    predictions,
    reasons,
    rows,
    run_steps,
    scored,
)

TREES = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract_module, "BATCH_ROWS", 4)


def table_of(staged: Staged | None) -> pa.Table:
    assert staged is not None
    return pa.concat_tables(read_staged(staged, LocalStorage()))


def published(place: Place, code: str, shard_rows: int = 1000, **changes: Any) -> dict[str, Any]:
    """The columns that come out with a scorer of ``code``."""
    job = place.job(model=None, scorer=place.scorer(code), **changes)
    return predictions(run_steps(place.run(in_shards_of(job, shard_rows)))).to_pydict()


def test_the_staged_predictions_have_ids_outputs_kept_columns_version_and_partition(empty: Place):
    empty.model(linear(2.0))
    empty.source(rows(5, place=["a", "b", "a", "b", "a"]))
    run = empty.run(in_shards_of(empty.job(output={"keep": ["place"]}), 3))
    found = scored(run, extracted(run))
    assert [s.number for s in found] == [0, 1]
    table = table_of(found[0].predictions)
    assert table.column_names == ["id", "y", "place", "model_version", "partition"]
    assert table.to_pylist()[1] == {
        "id": 2,
        "y": pytest.approx(4.0),
        "place": "b",
        "model_version": "v1",
        "partition": "2013-02",
    }
    assert found[0].quarantine is None
    assert found[0].seconds > 0


def test_a_scorer_sees_the_inputs_alone_and_numbered_from_0(empty: Place):
    empty.source(rows(5, place=["a"] * 5, x=[1.0, None, 3.0, 4.0, 5.0]))
    code = (
        "def run(df):\n"
        "    assert df.columns.tolist() == ['x'], df.columns\n"
        "    assert df.index.equals(__import__('pandas').RangeIndex(len(df))), df.index\n"
        "    return df.assign(y=df.index)[['y']]\n"
    )
    assert published(empty, code, output={"keep": ["place"]})["y"] == [
        0,
        1,
        2,
        0,
    ]  # batches of three rows


def test_columns_that_a_scorer_adds_are_published_and_those_of_the_source_stay(empty: Place):
    empty.source(rows(3, place=["a", "b", "c"]))
    code = "def run(df):\n    return df.assign(y=1, why='so', id=0, place='z')"
    found = published(empty, code, output={"keep": ["place"]})
    assert list(found) == ["id", "x", "y", "why", "place", "model_version", "partition"]
    assert (found["id"], found["place"], found["why"]) == ([1, 2, 3], ["a", "b", "c"], ["so"] * 3)
    assert found["model_version"][0].startswith("scorer-")


def test_a_scorer_that_writes_into_its_frame_changes_nothing_that_is_published(empty: Place):
    empty.source(rows(6))
    code = (
        "def run(df):\n"
        "    df['x'] *= -1\n"
        "    df.loc[df.index[0], 'x'] = 100.0\n"
        "    df['y'] = df['x']\n"
        "    return df[['y']]\n"
    )
    found = published(empty, code, output={"keep": ["x"]})
    assert found["x"] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert found["y"] == [100.0, -2.0, -3.0, -4.0, 100.0, -6.0]


@pytest.mark.parametrize(
    ("y", "expected", "kind"),
    [
        ("df['x'].astype('int64')", [1, 2, 3, 4, 5], pa.int64()),
        ("df['x'] > 2", [False, False, True, True, True], pa.bool_()),
        ("df['x'].astype('float32')", [1.0, 2.0, 3.0, 4.0, 5.0], pa.float32()),
        ("df['x'].map(str)", ["1.0", "2.0", "3.0", "4.0", "5.0"], pa.string()),
        ("df['x'].map(str).astype('category')", ["1.0", "2.0", "3.0", "4.0", "5.0"], pa.string()),
    ],
)
def test_predictions_may_be_numbers_truths_or_text(
    empty: Place, y: str, expected: list[Any], kind: pa.DataType
):
    empty.source(rows(5))
    job = empty.job(
        model=None, scorer=empty.scorer(f"def run(df):\n    return df.assign(y={y})[['y']]")
    )
    table = predictions(run_steps(empty.run(job)))
    assert table.schema.field("y").type == kind
    assert table.column("y").to_pylist() == expected


@pytest.mark.parametrize(
    ("y", "bad"),
    [
        ("df['x'].where(df['x'] != 2)", {2: "null_prediction"}),
        ("[None if x == 2 else 'late' for x in df['x']]", {2: "null_prediction"}),
        ("[None if x < 5 else 7 for x in df['x']]", dict.fromkeys([1, 2, 3, 4], "null_prediction")),
        ("1 / (df['x'] - 2)", {2: "infinite_prediction"}),
        ("-1 / (df['x'] - 2).abs()", {2: "infinite_prediction"}),
        ("float('nan')", dict.fromkeys([1, 2, 3, 4, 5], "null_prediction")),
        ("None", dict.fromkeys([1, 2, 3, 4, 5], "null_prediction")),
    ],
)
def test_a_row_without_a_prediction_is_quarantined(empty: Place, y: str, bad: dict[int, str]):
    empty.source(rows(5))
    job = empty.job(
        model=None, scorer=empty.scorer(f"def run(df):\n    return df.assign(y={y})[['y']]")
    )
    manifest = run_steps(empty.run(job))
    assert reasons(manifest) == {row: (reason, "y") for row, reason in bad.items()}
    assert predictions(manifest).column("id").to_pylist() == [
        i for i in range(1, 6) if i not in bad
    ]
    assert manifest.rows.scored == 5 - len(bad)


def test_a_row_without_a_probability_is_quarantined(empty: Place):
    empty.source(rows(5))
    empty.model(LogisticRegression().fit(pd.DataFrame({"x": [0.0, 1.0]}), [0, 1]))
    code = (
        "def run(df, model):\n"
        "    p = model.predict_proba(df)[:, 1]\n"
        "    return df.assign(y=1, p=p).assign(p=lambda f: f['p'].where(df['x'] != 3))[['y', "
        "'p']]\n"
    )
    job = empty.job(scorer=empty.scorer(code), output={"probabilities": {"p": 1}})
    manifest = run_steps(empty.run(job))
    assert reasons(manifest) == {3: ("null_prediction", "p")}
    assert manifest.statistics["p"]["count"] == 4


CHANGING = """
def run(df):
    first = df['x'].iloc[0] == 1
    return df.assign({})[['y'{}]]
"""


@pytest.mark.parametrize("shard_rows", [4, 1000])  # from shard to shard, and within one
@pytest.mark.parametrize(
    ("columns", "more", "changed"),
    [
        ("y=1 if first else 1.5", "", "y"),
        ("y='a' if first else 1", "", "y"),
        ("y=1, z='a' if first else 1", ", 'z'", "z"),
        ("y=1, z=1, w=1", ", 'z' if first else 'w'", "w, z"),
    ],
)
def test_columns_and_types_must_be_the_same_for_all_rows(
    empty: Place, shard_rows: int, columns: str, more: str, changed: str
):
    empty.source(rows(8))
    with pytest.raises(ScorerError) as error:
        published(empty, CHANGING.format(columns, more), shard_rows)
    message = str(error.value)
    assert message.startswith(
        "sample 2013-02: the scorer returned other columns or types for some rows than for the "
        f"first ones ({changed}"
    )
    if more == "":
        assert message.endswith(
            "output.types in the job file says which it is, such as {y: float64}"
        )


@pytest.mark.parametrize("y", ["[1, 'a', None, 2.5]", "[{1}, 2, 3, 4]", "[1j, 2, 3, 4]"])
@pytest.mark.usefixtures("single_rows")
def test_values_that_no_column_can_hold_are_named(empty: Place, y: str):
    empty.source(rows(4))
    with pytest.raises(ScorerError, match="the output column 'y' cannot be stored: "):
        published(empty, f"def run(df):\n    return df.assign(y={y})[['y']]")


def test_a_classifier_publishes_labels_and_probabilities_with_their_figures(empty: Place):
    empty.source(rows(6))
    model = LogisticRegression().fit(
        pd.DataFrame({"x": [1.0, 2, 5, 6]}), ["early", "early", "late", "late"]
    )
    empty.model(model)
    job = empty.job(output={"prediction": "label", "probabilities": {"p_late": "late"}})
    manifest = run_steps(empty.run(in_shards_of(job, 4)))
    found = predictions(manifest)
    inputs = pd.DataFrame({"x": [1.0, 2, 3, 4, 5, 6]})
    assert found.column("label").to_pylist() == model.predict(inputs).tolist()
    assert found.column("p_late").to_pylist() == pytest.approx(model.predict_proba(inputs)[:, 1])
    assert manifest.statistics["label"] == {"count": 6, "classes": {"early": 3, "late": 3}}
    assert manifest.statistics["p_late"]["mean"] == pytest.approx(
        model.predict_proba(inputs)[:, 1].mean()
    )


def test_a_shard_without_good_rows_has_no_predictions(empty: Place):
    empty.model()
    empty.source(rows(4, x=[None, None, 3.0, 4.0]))
    run = empty.run(in_shards_of(empty.job(), 2))
    first, second = scored(run, extracted(run))
    assert first.predictions.rows == 0
    assert table_of(second.predictions).column("id").to_pylist() == [3, 4]


def test_a_month_with_no_good_row_is_an_empty_table_with_all_columns(empty: Place):
    empty.model()
    empty.source(rows(2, x=[None, None], place=["a", "b"]))
    table = predictions(run_steps(empty.run(empty.job(output={"keep": ["place"]}))))
    assert table.num_rows == 0
    assert {f.name: f.type for f in table.schema} == {
        "id": pa.int64(),
        "y": pa.float64(),
        "place": pa.string(),
        "model_version": pa.string(),
        "partition": pa.string(),
    }


@pytest.mark.parametrize(("of_job", "given", "expected"), [(None, 1, 1), (None, 3, 3), (2, 3, 2)])
def test_threads_are_those_of_the_job_or_those_given(
    empty: Place, of_job: int | None, given: int, expected: int
):
    code = (
        "from threadpoolctl import threadpool_info\n"
        "def run(df):\n"
        "    pools = {pool['user_api']: pool['num_threads'] for pool in threadpool_info()}\n"
        "    return df.assign(y=pools['openmp'], blas=pools['blas'])[['y', 'blas']]\n"
    )
    empty.source(rows(2))
    job = empty.job(scorer=empty.scorer(code), model=None, run={"threads": of_job})
    run = empty.run(job)
    before = threadpool_info()
    extraction = extracted(run)
    predictions = score(run, extraction.shards[0], extraction.model, given).predictions
    assert predictions is not None
    table = table_of(predictions).select(["y", "blas"])
    assert table.to_pylist() == [{"y": expected, "blas": 1}] * 2
    assert threadpool_info() == before


def test_the_number_of_threads_does_not_change_a_byte(empty: Place):
    table = rows(1000)
    empty.source(table)
    frame = table.to_pandas()
    boosted = HistGradientBoostingRegressor(max_iter=20, random_state=0)
    empty.model(boosted.fit(frame[["x"]], np.sin(frame["x"])))
    run = empty.run(empty.job(model={"trusted_types": [TREES]}))
    extraction = extracted(run)
    one, three = (
        score(run, extraction.shards[0], extraction.model, threads).predictions
        for threads in (1, 3)
    )
    assert one is not None
    assert one == three


def test_what_is_wrong_with_the_model_is_found_before_any_row(empty: Place):
    empty.model(linear(columns=("x", "speed")))
    run = empty.run()
    with pytest.raises(ModelError, match="was trained with 'speed'"):
        checked_model(run, run.model_file())


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The digests of the models that are loaded from now on."""
    from scoring.models import prepare as prepare_module

    found: list[str] = []
    real = prepare_module.load_model
    prepare_module._kept.clear()

    def noting(file: Any, trusted: Any, connections: Connections) -> Any:
        found.append(file.sha256)
        return real(file, trusted, connections)

    monkeypatch.setattr(prepare_module, "load_model", noting)
    yield found
    prepare_module._kept.clear()


def test_a_model_is_loaded_once_for_all_shards_and_again_when_it_has_changed(
    empty: Place, loads: list[str]
):
    first = empty.model(linear(2.0))
    empty.source(rows(9))
    job = in_shards_of(empty.job(), 2)
    run_steps(empty.run(job))
    assert loads == [first]
    second = empty.model(linear(3.0))
    assert predictions(run_steps(empty.run(job))).column("y")[0].as_py() == pytest.approx(3.0)
    assert loads == [first, second]


def test_a_late_attempt_at_a_replaced_shard_leaves_the_predictions_of_the_new_one(tmp_path: Path):
    place = Place(tmp_path)
    place.source(rows(10, id=[1, 2, 3, 4, 5, 6, 7, 8, 9, 9]))
    place.model()
    run, first = place.run(), []
    model = run.model_file()
    extraction = extract(run, model, lambda s: first.append((s, Path(s.uri).read_bytes())))
    ((replaced, content),) = first
    assert replaced not in extraction.shards
    wanted = score(run, extraction.shards[0], model)
    Path(replaced.uri).write_bytes(content)  # as the late attempt had opened it
    score(run, replaced, model)
    assert wanted.predictions is not None
    tables = list(read_staged(wanted.predictions, LocalStorage()))
    assert pa.concat_tables(tables).column("id").to_pylist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
