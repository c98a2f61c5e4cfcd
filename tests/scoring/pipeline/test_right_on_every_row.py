"""Inputs of the kinds that once gave a wrong prediction, lost a row or made a month unreadable."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from scoring.cli.main import main
from scoring.errors import ContractError, ModelError, PublicationError, ScorerError, SourceError
from tests.scoring.factories import MONTH, Place, predictions, quarantine, reasons, rows, run_steps

NEXT = "2013-03"
CSV = {"source": {"uri": "{data}/source/{partition}.csv"}}


def of_file(model: Any, place: Place) -> dict[str, Any]:
    """The job's model section for ``model``, saved with joblib."""
    digest = place.model(model, "v1.joblib")
    version = {"version": "v1", "uri": "{models}/v1.joblib", "in_force_from": MONTH}
    return {"model": {"versions": [version | {"sha256": digest}]}}


def scored(place: Place, key: str = MONTH, **job: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = predictions(
        run_steps(place.run(place.job(**job), key))
    ).to_pydict()
    return found


# --- a row's result depends on that row alone ----------------------------------------------------


def test_predictions_are_taken_by_position_also_of_a_model_that_answers_in_pandas(empty: Place):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    model = TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp)
    model.fit(frame, [10.0, 20.0, 40.0]).set_params(check_inverse=False)
    empty.source(rows(3))
    assert scored(empty, **of_file(model, empty))["y"] == pytest.approx(model.predict(frame))
    empty.model(LinearRegression().fit(frame, [10.0, 20.0, 30.0]))
    code = (
        "import pandas as pd\n"
        "def run(df, model):\n"
        "    return pd.DataFrame({'y': pd.Series(model.predict(df))})\n"
    )
    found = scored(empty, scorer=empty.scorer(code))
    assert found["y"] == pytest.approx([10.0, 20.0, 30.0])


def test_int96_keeps_its_date(empty: Place):
    empty.model()
    far = [datetime(9999, 12, 31), datetime(1000, 1, 1), datetime(2013, 2, 5)]  # noqa: DTZ001
    # 2**64 nanoseconds after a moment of this month: as nanoseconds it would be in it.
    wrapped = datetime(2013, 2, 10) + timedelta(microseconds=2**64 / 1000)  # noqa: DTZ001
    inside = datetime(2013, 2, 5)  # noqa: DTZ001
    table = rows(4, until=[*far, far[0]], at=[inside, inside, inside, wrapped])
    empty.source(table, use_deprecated_int96_timestamps=True, store_schema=False)
    job = empty.job(source={"date_column": "at"}, output={"keep": ["until"]})
    manifest = run_steps(empty.run(job))
    assert predictions(manifest)["until"].to_pylist() == far
    assert reasons(manifest) == {4: ("outside_partition", "at")}
    assert quarantine(manifest)["value"].to_pylist() == [str(wrapped)]


def test_a_decimal_is_the_nearest_double(empty: Place):
    empty.model()
    empty.source(rows(3, x=[Decimal("0.3"), Decimal("0.6"), Decimal("0.57")]))
    found = scored(
        empty, inputs={"x": {"type": "float64", "max": 0.6, "allowed": [0.3, 0.57, 0.6]}}
    )
    assert found["id"] == [1, 2, 3]


def test_a_model_gets_moments_in_the_unit_of_the_contract(empty: Place):
    days = pd.to_datetime(["2013-02-01", "2013-02-11", "2013-02-21"])
    as_int = FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": "int64"})
    model = make_pipeline(as_int, LinearRegression())
    model.fit(pd.DataFrame({"x": days.as_unit("ns")}), [1.0, 11.0, 21.0])
    job = of_file(model, empty) | {"inputs": {"x": {"type": "timestamp"}}}
    for stored in ("ms", "us", "ns"):
        empty.source(rows(3, x=pa.array(days, pa.timestamp(stored))))
        assert scored(empty, **job)["y"] == pytest.approx([1, 11, 21])


def test_a_nullable_integer_is_the_same_beside_a_null(empty: Place):
    as_text = FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": str})
    model = make_pipeline(as_text, OneHotEncoder(handle_unknown="ignore"), LinearRegression())
    model.fit(pd.DataFrame({"x": [3.0, 7.0, np.nan, 3.0]}), [30.0, 70.0, 0.0, 30.0])
    job = of_file(model, empty) | {"inputs": {"x": {"type": "int64", "nullable": True}}}
    for third in (3, None):
        empty.source(rows(3, x=pa.array([3, 7, third], pa.int64())))
        assert scored(empty, **job)["y"][:2] == pytest.approx([30, 70])


@pytest.mark.parametrize("word", ["today", "now", "tomorrow", "2013"])
def test_words_are_not_moments(empty: Place, word: str):
    empty.model()
    empty.csv(f"id,x,at\n1,1,2013-02-05\n2,2,{word}\n")
    inputs = {"x": {"type": "float64"}, "at": {"type": "timestamp"}}
    empty.scorer("def run(df):\n    return df.assign(y=df['at'].astype('int64'))[['y']]")
    job = empty.job(**CSV, inputs=inputs, scorer="scorer.py", model=None)
    assert reasons(run_steps(empty.run(job))) == {2: ("wrong_type", "at")}


def test_clock_times_and_offsets_in_one_csv_column_are_judged_each_by_itself(empty: Place):
    empty.model()
    empty.csv(
        "id,x,at\n1,1,2013-02-28 22:30:00\n2,2,2013-02-28T12:00:00-05:00\n3,3,2013-03-01 00:30:00\n"
    )
    source = {"uri": "{data}/source/{partition}.csv", "date_column": "at"}
    job = empty.job(source=source, timezone="America/New_York", output={"keep": ["at"]})
    manifest = run_steps(empty.run(job))
    assert reasons(manifest) == {3: ("outside_partition", "at")}
    assert predictions(manifest)["at"].to_pylist() == [
        datetime(2013, 3, 1, 3, 30, tzinfo=UTC), datetime(2013, 2, 28, 17, tzinfo=UTC)
    ]  # fmt: skip


def test_null_words_of_a_csv_are_those_of_pandas(empty: Place):
    empty.model()
    words = ["", "None", "<NA>", "NULL", "n/a", "-nan", "#N/A", "none", "nil"]
    empty.csv("id,x,c\n" + "".join(f"{i},1,{word}\n" for i, word in enumerate(words)))
    path = empty.data / "source" / f"{MONTH}.csv"
    found = scored(empty, **CSV, output={"keep": ["c"]})
    assert [c is None for c in found["c"]] == pd.read_csv(path)["c"].isna().tolist()


def test_bytes_are_row_ids(empty: Place):
    empty.model()
    ids = [b"\xff\x01", b"ab", b"ab", b"cd"]
    empty.source(rows(4, id=pa.array(ids)))
    manifest = run_steps(empty.run())
    assert predictions(manifest)["id"].to_pylist() == [b"\xff\x01", b"ab", b"cd"]
    assert reasons(manifest) == {3: ("duplicate_row_id", None)}


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_ids_of_files_that_differ_in_type_are_never_rounded(empty: Place, order: list[int]):
    empty.model()
    tables = [rows(2, id=pa.array([2**53 + 1, 2**53])), rows(1, id=pa.array([3.0]))]
    for name, i in zip("ab", order, strict=True):
        empty.source(tables[i], f"{name}.parquet")
    found = scored(empty, source={"uri": "{data}/source/*.parquet"})
    assert sorted(found["id"]) == [3, 2**53, 2**53 + 1]


# --- no row vanishes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('id,x,name\n1,2,a\n2,3,"open\n3,4,c\n4,5,d\n', "line 3 begins a row with a quote that is never closed"),
        ("id,x,name\n1,2,a\n2,3\n", "line 3 begins a row of 2 fields, and the header has 3"),
        ("id,x,name\n1,2,a\n\n2,3,a,b\n", "line 4 begins a row of 4 fields, and the header has 3"),
        ('id,x,name\n1,2,"a"b\n', "line 2 begins a row that cannot be read: ',' expected after"),
        ("id,x,name\n1,2,a\n2,3,\udce9\n", "line 3 is not UTF-8"),
        ('id,x,name\n1,2,"a"\n2,3,\udce9\n', "line 3 is not UTF-8"),
    ],
)  # fmt: skip
def test_a_csv_that_would_lose_a_row_is_refused_with_its_line(empty: Place, text: str, reason: str):
    empty.model()
    path = empty.csv(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SourceError) as error:
        run_steps(empty.run(empty.job(**CSV)))
    assert str(error.value).startswith(f"{path}, {reason}")


def test_a_file_of_a_pattern_that_ends_within_a_quote_is_refused(empty: Place):
    empty.model()
    empty.csv('id,x,name\n1,2,"cut', "1.csv")
    empty.csv("id,x,name\n2,3,b\n", "2.csv")
    with pytest.raises(SourceError, match=r"1\.csv, line 2 begins a row with a quote"):
        run_steps(empty.run(empty.job(source={"uri": "{data}/source/*.csv"})))


@pytest.mark.parametrize(
    "kept",
    [
        pa.array([timedelta(hours=1)], pa.duration("ns")),
        pa.array([{"a": timedelta(hours=1)}]),
    ],
    ids=lambda array: str(array.type),
)
def test_a_type_that_readers_would_not_find_again_is_refused(empty: Place, kept: pa.Array):
    empty.model()
    empty.source(rows(1, took=kept))
    with pytest.raises(ContractError, match="the column 'took' is stored as "):
        run_steps(empty.run(empty.job(output={"keep": ["took"]})))


# --- every published month can be read with every other -------------------------------------------


def read_all(place: Place) -> pd.DataFrame:
    return pd.read_parquet(place.out)


def test_an_empty_first_month_has_the_types_of_the_model(empty: Place):
    model = DecisionTreeClassifier().fit(pd.DataFrame({"x": [1.0, 2.0]}), ["no", "yes"])
    job = of_file(model, empty) | {"checks": {"min_rows": 0}}
    empty.source(rows(2).slice(0, 0))
    scored(empty, **job)
    empty.source(rows(2), f"{NEXT}.parquet")
    scored(empty, NEXT, **job)
    assert read_all(empty)["y"].tolist() == ["no", "yes"]


@pytest.mark.parametrize("first", [pa.nulls(2), pa.array(["a", "b"])])
def test_a_column_without_values_is_text_until_it_has_some(empty: Place, first: pa.Array):
    empty.model()
    empty.source(rows(2, g=first))
    empty.source(rows(2, g=["c", None]), f"{NEXT}.parquet")
    for key in (MONTH, NEXT):
        scored(empty, key, output={"keep": ["g"]})
    assert read_all(empty)["g"].dropna().tolist() == [*first.drop_null().to_pylist(), "c"]


def test_integers_that_become_floats_stay_integers_where_they_can(empty: Place):
    empty.model()
    empty.source(rows(2, g=[1, 2]))
    empty.source(rows(2, g=[3.0, float("nan")]), f"{NEXT}.parquet")
    for key in (MONTH, NEXT):
        manifest = run_steps(empty.run(empty.job(output={"keep": ["g"]}), key))
        assert manifest.columns["g"] == "int64"
    assert read_all(empty)["g"].dropna().tolist() == [1, 2, 3]


def test_a_month_that_does_not_fit_is_refused_with_the_way_out(empty: Place):
    empty.model()
    empty.source(rows(2, g=[1, 2]))
    empty.source(rows(2, g=[0.5, 1.5]), f"{NEXT}.parquet")
    scored(empty, output={"keep": ["g"]})
    with pytest.raises(PublicationError) as error:
        scored(empty, NEXT, output={"keep": ["g"]})
    message = str(error.value)
    assert message.startswith("sample 2013-03: the column 'g' is published as int64 so far")
    assert "name a new destination.uri and score the past again" in message
    assert read_all(empty)["g"].tolist() == [1, 2]


def test_the_job_may_say_the_type_before_the_first_month(empty: Place):
    empty.model()
    empty.source(rows(2, g=[1, 2]))
    empty.source(rows(2, g=[0.5, 1.5]), f"{NEXT}.parquet")
    for key in (MONTH, NEXT):
        scored(empty, key, output={"keep": ["g"], "types": {"g": "float64"}})
    assert read_all(empty)["g"].tolist() == [1, 2, 0.5, 1.5]


def test_the_only_month_may_change_its_types(empty: Place):
    empty.model()
    for values in (["a", "b"], [1, 2]):
        empty.source(rows(2, g=values))
        scored(empty, output={"keep": ["g"]})
    assert read_all(empty)["g"].tolist() == [1, 2]


def test_a_destination_of_an_earlier_release_says_its_types_by_its_files(empty: Place):
    empty.model()
    empty.source(rows(2, g=[1, 2]))
    empty.source(rows(2, g=[3.0, 4.0]), f"{NEXT}.parquet")
    scored(empty, output={"keep": ["g"]})
    (empty.out / "_columns.arrow").unlink()
    scored(empty, NEXT, output={"keep": ["g"]})
    assert read_all(empty)["g"].tolist() == [1, 2, 3, 4]


# --- models
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [1e300, 1e308])
def test_huge_predictions_are_published_and_shown(
    empty: Place, slope: float, capsys: pytest.CaptureFixture[str]
):
    model = LinearRegression()
    model.coef_, model.intercept_ = np.array([slope]), 0.0
    model.n_features_in_, model.feature_names_in_ = 1, np.array(["x"], dtype=object)
    empty.source(rows(2, x=[1.0, -1.5]))
    job = empty.job(**of_file(model, empty))
    found = run_steps(empty.run(job)).statistics["y"]
    assert (found["min"], found["max"]) == (-1.5 * slope, slope)
    assert found["std"] is None
    assert all(math.isfinite(edge) for edge in found["histogram"]["edges"])
    assert main(["show", str(job.path), MONTH, "--data", str(empty.data)]) == 0
    assert "std too large to say" in capsys.readouterr().out
    assert main(["show", str(job.path), MONTH, "--data", str(empty.data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"]["y"]["std"] is None


@pytest.mark.usefixtures("single_rows")
def test_a_multi_output_classifier_needs_a_scorer(empty: Place):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    model = RandomForestClassifier(3).fit(frame, np.array([[0, 1], [1, 0], [0, 1], [1, 1]]))
    empty.source(rows(2))
    job = of_file(model, empty) | {"output": {"probabilities": {"p": 1}}}
    with pytest.raises(ModelError, match=r"predicts 2 outputs at once, .* A scorer"):
        scored(empty, **job)
    del job["output"]
    with pytest.raises(ScorerError, match=r"array of shape \(2, 2\); .* A scorer"):
        scored(empty, **job)


def test_a_regressor_that_was_fitted_on_a_column_of_y_is_right(empty: Place):
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    empty.source(rows(2))
    job = of_file(LinearRegression().fit(frame, [[2.0], [4.0]]), empty)
    assert scored(empty, **job)["y"] == pytest.approx([2.0, 4.0])


def test_a_pair_of_vectorizer_and_model_needs_a_scorer(empty: Place):
    vectorizer = DictVectorizer().fit([{"x": 1.0}])
    pair = (vectorizer, LinearRegression().fit([[1.0], [2.0]], [2.0, 4.0]))
    empty.source(rows(2))
    job = of_file(pair, empty)
    with pytest.raises(ModelError) as error:
        scored(empty, **job)
    pair_of = (
        "is a tuple of DictVectorizer, LinearRegression, which has no predict (is it a vectorizer"
    )
    assert pair_of in str(error.value)
    code = (
        "def run(df, model):\n"
        "    vectorizer, estimator = model\n"
        "    return "
        "df.assign(y=estimator.predict(vectorizer.transform(df.to_dict('records'))))[['y']]\n"
    )
    assert scored(empty, **job, scorer=empty.scorer(code))["y"] == pytest.approx([2.0, 4.0])


def test_files_of_a_month_are_read_by_pandas_as_they_are(empty: Place):
    empty.model()
    kept = {
        "d": [date(2013, 2, 5)],
        "z": pa.array([datetime(2013, 2, 5, tzinfo=UTC)], pa.timestamp("us", "UTC")),
    }
    empty.source(rows(1, **kept))
    scored(empty, output={"keep": ["d", "z"]})
    found = pq.read_table(empty.out).to_pylist()[0]
    assert (found["d"], found["z"]) == (date(2013, 2, 5), datetime(2013, 2, 5, tzinfo=UTC))
