from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from scoring.engine import check_model, score_table
from scoring.errors import ModelError, ScorerError
from scoring.job.schema import Job
from scoring.models.sklearn import SklearnModel
from scoring.models.user_scorer import ScorerFile, UserScorer, read_scorer
from tests.scoring.factories import JOB, linear, merged

pytestmark = pytest.mark.usefixtures("single_rows")

INPUTS = pd.DataFrame({"x": [1.0, 2.0, 3.0]})

Scorer = Callable[[pd.DataFrame], pd.DataFrame]


def job(**changes: Any) -> Job:
    return Job.model_validate(merged(JOB, changes))


def scorer_for(of_job: Job, own: ScorerFile | None, estimator: Any) -> Scorer:
    """The engine with what a job has: from a frame of inputs to a frame of outputs."""
    model: Any = None if estimator is None else SklearnModel(estimator)
    if own is not None:
        model = UserScorer(own, model)
    check_model(model, of_job)

    def score(inputs: pd.DataFrame) -> pd.DataFrame:
        table = pa.table({"id": range(len(inputs)), **{n: inputs[n] for n in inputs.columns}})
        scored = score_table(table, model, of_job)
        assert scored.rejected.num_rows == 0
        assert scored.table.column("id").to_pylist() == list(range(len(inputs)))
        return scored.table.drop_columns(["id"]).to_pandas()

    return score


def own(folder: Path, code: str, estimator: Any = None, **changes: Any) -> Scorer:
    """The scorer of a job whose own scorer file has ``code``."""
    path = folder / "scorer.py"
    path.write_text(code)
    return scorer_for(job(scorer="scorer.py", **changes), read_scorer(path), estimator)


# --- the model's predict -----------------------------------------------------------------------


def test_a_regressor_predicts_a_column_in_the_order_of_the_rows():
    outputs = scorer_for(job(), None, linear(2.0))(INPUTS)
    assert outputs.columns.tolist() == ["y"]
    assert outputs["y"].tolist() == pytest.approx([2.0, 4.0, 6.0])


def test_the_model_gets_its_columns_in_its_own_order():
    inputs = INPUTS.assign(z=[10.0, 20.0, 30.0], unused=0.0)
    of_job = job(inputs={n: {"type": "float64"} for n in ("x", "unused", "z")})
    model = LinearRegression().fit(pd.DataFrame({"z": [0.0, 1, 0], "x": [0.0, 0, 1]}), [0, 100, 1])
    assert scorer_for(of_job, None, model)(inputs)["y"].tolist() == pytest.approx(
        [1001, 2002, 3003]
    )


def test_a_model_that_knows_no_names_gets_the_inputs_in_the_order_of_the_job():
    inputs = pd.DataFrame({"x": [1.0], "z": [10.0]})
    model = LinearRegression().fit(np.array([[0.0, 0], [1, 0], [0, 1]]), [0, 1, 100])
    for order, y in ((("x", "z"), 1001), (("z", "x"), 110)):
        score = scorer_for(job(inputs={n: {"type": "float64"} for n in order}), None, model)
        outputs = score(inputs)
        assert outputs["y"].tolist() == pytest.approx([y])


def test_a_model_trained_with_columns_that_are_not_inputs_is_refused_before_any_row():
    with pytest.raises(ModelError) as error:
        scorer_for(job(), None, linear(columns=("x", "speed", "height")))
    assert str(error.value) == (
        "the model of sample was trained with 'speed', 'height', which the job's inputs do not "
        "list (they are x)"
    )


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["no", "yes", "yes"], {"p_yes": "yes", "p_no": "no"}),
        ([0, 1, 1], {"p_late": 1}),
        ([False, True, True], {"p_true": True}),
    ],
)
def test_a_classifier_predicts_labels_and_the_probabilities_that_are_asked_for(
    labels: list[Any], wanted: dict[str, Any]
):
    model = LogisticRegression().fit(INPUTS, labels)
    outputs = scorer_for(job(output={"probabilities": wanted}), None, model)(INPUTS)
    assert outputs.columns.tolist() == ["y", *wanted]
    assert outputs["y"].tolist() == model.predict(INPUTS).tolist()
    for name, label in wanted.items():
        of_class = list(model.classes_).index(label)
        assert outputs[name].tolist() == model.predict_proba(INPUTS)[:, of_class].tolist()


def test_a_class_that_the_model_does_not_know_is_named_with_those_it_does():
    model = DummyClassifier().fit(INPUTS, ["no", "yes", "yes"])
    with pytest.raises(ModelError) as error:
        scorer_for(job(output={"probabilities": {"p": "maybe"}}), None, model)
    assert "output.probabilities.p of sample is for the class 'maybe', and the model knows 'no', 'yes'" in str(error.value)  # fmt: skip  # noqa: E501


def test_probabilities_of_a_model_that_has_none_are_refused():
    with pytest.raises(
        ModelError, match="needs predict_proba, and LinearRegression has no predict_proba"
    ):
        scorer_for(job(output={"probabilities": {"p": 1}}), None, linear())


def test_a_model_that_fails_is_reported_with_the_rows_it_had():
    model = LinearRegression().fit(np.array([[1.0, 2.0], [3.0, 4.0]]), [1, 2])
    score = scorer_for(job(), None, model)
    with pytest.raises(ScorerError) as error:
        score(INPUTS)
    assert str(error.value).startswith("predicting failed with ValueError: X has 1 features")


def test_a_model_that_predicts_several_columns_is_refused():
    model = LinearRegression().fit(INPUTS, [[1, 2], [3, 4], [5, 6]])
    with pytest.raises(
        ScorerError, match=r"predict returned an array of shape \(3, 2\); expected one"
    ):
        scorer_for(job(), None, model)(INPUTS)


class Predicts:
    """A model whose ``predict`` returns what a function makes of the features."""

    def __init__(self, predict: Callable[[pd.DataFrame], Any]) -> None:
        self.predict = predict


@pytest.mark.parametrize(
    "result",
    [
        lambda x: x["x"],
        lambda x: pd.Series(x["x"].to_numpy()),
        lambda x: pd.Series(x["x"].tolist(), index=[0, 1, 2]),
        lambda x: x[["x"]],
        lambda x: x[["x"]].to_numpy(),
        lambda x: x["x"].tolist(),
        lambda x: tuple(x["x"]),
    ],
    ids=["column", "series", "integers", "frame", "2-D", "list", "tuple"],
)
def test_each_row_gets_its_own_prediction_whatever_holds_them(result: Any):
    assert scorer_for(job(), None, Predicts(result))(INPUTS)["y"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (lambda x: pd.Series([1.0, 2.0, 3.0], index=[1, 2, 3]), "a Series with an index of its own, from 1 to 3"),
        (lambda x: x["x"].sort_values(ascending=False), "a Series with an index of its own, from 2 to 0"),
        (lambda x: pd.DataFrame({"y": [1.0, 2.0, 3.0]}, index=list("abc")), "a DataFrame with an index of its own"),
        (lambda x: [1.0, 2.0], "was given 3 rows and returned 2"),
        (lambda x: np.ones((3, 2)), "returned an array of shape (3, 2)"),
        (lambda x: [[1], [2, 3], [4]], "values of different lengths"),
        (lambda x: None, "returned NoneType"),
        (lambda x: 7.0, "returned float"),
        (lambda x: "abc", "returned str"),
        (lambda x: {"y": [1.0, 2.0, 3.0]}, "returned dict"),
    ],
)  # fmt: skip
def test_predictions_whose_rows_are_not_known_are_refused(result: Any, expected: str):
    with pytest.raises(ScorerError) as error:
        scorer_for(job(), None, Predicts(result))(INPUTS)
    assert expected in str(error.value)


class Probabilities:
    classes_ = ("no", "yes")

    def __init__(self, predict_proba: Callable[[pd.DataFrame], Any]) -> None:
        self.predict_proba = predict_proba

    def predict(self, features: pd.DataFrame) -> list[str]:
        return ["no"] * len(features)


@pytest.mark.parametrize("kind", [np.array, pd.DataFrame, list])
def test_probabilities_are_taken_by_position_whatever_holds_them(kind: Any):
    model = Probabilities(lambda x: kind([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]))
    outputs = scorer_for(job(output={"probabilities": {"p": "yes"}}), None, model)(INPUTS)
    assert outputs["p"].tolist() == [0.1, 0.2, 0.3]


def test_probabilities_in_a_frame_are_taken_by_the_name_of_their_class():
    model = Probabilities(lambda x: pd.DataFrame({"yes": [0.1, 0.2, 0.3], "no": [0.9, 0.8, 0.7]}))
    outputs = scorer_for(job(output={"probabilities": {"p": "yes"}}), None, model)(INPUTS)
    assert outputs["p"].tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "result",
    [
        lambda x: pd.DataFrame({"yes": [0.1, 0.2, 0.3], "maybe": [0.9, 0.8, 0.7]}),
        lambda x: [[0.9, 0.1, 0.0]] * 3,
        lambda x: pd.DataFrame([[0.9, 0.1]] * 3, index=[1, 2, 3]),
        lambda x: [[0.9, 0.1]] * 2,
        lambda x: [0.1, 0.2, 0.3],
    ],
)
def test_probabilities_whose_rows_are_not_known_are_refused(result: Any):
    score = scorer_for(job(output={"probabilities": {"p": "yes"}}), None, Probabilities(result))
    with pytest.raises(ScorerError, match="predict_proba"):
        score(INPUTS)


def test_rows_without_an_output_are_rejected_with_their_place():
    of_job = job(inputs={"x": {"type": "float64"}})
    table = pa.table({"id": [1, 2, 3, 4], "x": [1.0, 2.0, 3.0, 4.0]})
    model = SklearnModel(Predicts(lambda x: np.array([1.0, np.nan, np.inf, 4.0])))
    found = score_table(table, model, of_job)
    assert found.table.to_pydict() == {"id": [1, 4], "y": [1.0, 4.0]}
    assert found.rejected.to_pylist() == [
        {"position": 1, "reason": "null_prediction", "column": "y"},
        {"position": 2, "reason": "infinite_prediction", "column": "y"},
    ]


def test_a_table_without_rows_has_no_predictions_and_asks_no_model():
    of_job = job()
    table = pa.table({"id": pa.array([], pa.int64()), "x": pa.array([], pa.float64())})
    found = score_table(table, SklearnModel(linear()), of_job)
    assert found.table.schema == pa.schema({"id": pa.int64(), "y": pa.float64()})
    assert found.rejected.num_rows == found.table.num_rows == 0


def test_a_scorer_in_the_style_of_a_classic_script_gives_each_row_its_own(tmp_path: Path):
    code = (
        "import pandas as pd\n"
        "def run(df, model):\n"
        "    df['y'] = pd.Series(model.predict(df))\n"
        "    return df[['y']]\n"
    )
    assert own(tmp_path, code, linear(10.0))(INPUTS)["y"].tolist() == pytest.approx([10, 20, 30])


# --- the job's own scorer ----------------------------------------------------------------------


def test_a_scorer_gets_the_inputs_and_the_model(tmp_path: Path):
    score = own(
        tmp_path, "def run(df, model):\n    return df.assign(y=model.predict(df))", linear()
    )
    assert score(INPUTS)["y"].tolist() == pytest.approx([2.0, 4.0, 6.0])


@pytest.mark.parametrize("signature", ["df", "frame", "df, /"])
def test_a_scorer_may_do_without_a_model(tmp_path: Path, signature: str):
    name = signature.split(",")[0]
    score = own(tmp_path, f"def run({signature}):\n    return {name}.assign(y=7)", model=None)
    assert score(INPUTS)["y"].tolist() == [7, 7, 7]


def test_a_scorer_may_return_fewer_and_other_columns(tmp_path: Path):
    score = own(tmp_path, "def run(df):\n    return df.assign(y=1, why='so')[['why', 'y']]")
    assert score(INPUTS).columns.tolist() == ["why", "y"]


def test_a_scorer_file_may_define_dataclasses(tmp_path: Path):
    code = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Slope:\n    value: float\n"
        "def run(df):\n    return df.assign(y=Slope(3.0).value * df['x'])\n"
    )
    assert own(tmp_path, code)(INPUTS)["y"].tolist() == [3.0, 6.0, 9.0]


def test_two_scorer_files_of_one_name_are_not_mixed_up(tmp_path: Path):
    scorers = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        scorers.append(own(folder, f"Y = {number}\ndef run(df):\n    return df.assign(y=Y)"))
    assert [score(INPUTS)["y"].iloc[0] for score in scorers] == [1, 2]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("df.iloc[:2]", "was given 3 rows and returned 2 with another index (missing: [2], added: none"),
        ("df.dropna().query('x < 2')", "returned 1 with another index (missing: [1, 2], added: none"),
        ("df.iloc[::-1]", "returned 3 with another index (missing: none, added: none; else their order differs)"),
        ("df.set_axis([5, 6, 7])", "(missing: [0, 1, 2], added: [5, 6, 7]"),
        ("df.sample(3, random_state=1)", "their order differs"),
        ("__import__('pandas').concat([df, df])", "was given 3 rows and returned 6"),
        ("df.iloc[:0]", "was given 3 rows and returned 0"),
    ],
)  # fmt: skip
def test_other_rows_than_were_given_are_refused(tmp_path: Path, change: str, expected: str):
    score = own(tmp_path, f"def run(df):\n    return {change}.assign(y=1)")
    with pytest.raises(ScorerError) as error:
        score(INPUTS)
    assert str(error.value).startswith("the scorer ")
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        ("df['x']", "Series"),
        ("[1, 2, 3]", "list"),
        ("None", "NoneType"),
        ("df.to_numpy()", "ndarray"),
    ],
)
def test_anything_but_a_frame_is_refused(tmp_path: Path, result: str, kind: str):
    with pytest.raises(ScorerError, match=f"must return a DataFrame, not {kind}"):
        own(tmp_path, f"def run(df):\n    return {result}")(INPUTS)


def test_a_frame_without_the_prediction_is_refused(tmp_path: Path):
    with pytest.raises(
        ScorerError, match=r"returned no column 'y', which output .*; it returned x, z"
    ):
        own(tmp_path, "def run(df):\n    return df.assign(z=1)")(INPUTS)


def test_a_frame_without_a_probability_is_refused(tmp_path: Path):
    score = own(
        tmp_path, "def run(df, model):\n    return df.assign(y=1)", linear(),
        output={"probabilities": {"p": 1}},
    )  # fmt: skip
    with pytest.raises(ScorerError, match="returned no column 'p'"):
        score(INPUTS)


def test_a_column_that_comes_twice_is_refused(tmp_path: Path):
    code = "import pandas as pd\ndef run(df):\n    y = df.assign(y=1)[['y']]\n    return pd.concat([y, y], axis=1)"
    with pytest.raises(ScorerError, match=r"the scorer returned two columns 'y'"):
        own(tmp_path, code)(INPUTS)


def test_a_scorer_that_fails_is_reported_with_the_rows_it_had(tmp_path: Path):
    score = own(tmp_path, "def run(df):\n    raise KeyError('speed')")
    with pytest.raises(ScorerError) as error:
        score(INPUTS)
    assert str(error.value) == ("predicting failed with KeyError: 'speed'")
    assert isinstance(error.value.__cause__, KeyError)


def test_a_scorer_may_raise_an_error_for_the_user_itself(tmp_path: Path):
    code = (
        "from scoring.errors import ScorerError\n"
        "def run(df):\n    raise ScorerError('no tariff for May; ask the sales desk')"
    )
    with pytest.raises(ScorerError, match=r"^no tariff for May; ask the sales desk$"):
        own(tmp_path, code)(INPUTS)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import not_installed_here", "cannot be imported: ModuleNotFoundError: No module named"),
        ("def run(df):\nreturn df", "cannot be imported: IndentationError: "),
        ("1 / 0", "cannot be imported: ZeroDivisionError: "),
        ("x = 1", "must define run(df, model) or run(df)"),
        ("run = 1", "must define run(df, model) or run(df)"),
        ("def run():\n    pass", "must define run(df, model) or run(df)"),
        ("def run(df, model, more):\n    pass", "must define run(df, model) or run(df)"),
    ],
)
def test_a_scorer_file_that_cannot_be_used_is_named(tmp_path: Path, code: str, expected: str):
    with pytest.raises(ScorerError) as error:
        own(tmp_path, code)
    assert f"the scorer {tmp_path}/scorer.py {expected}" in str(error.value)


def test_the_digest_of_a_scorer_is_that_of_its_bytes(tmp_path: Path):
    (tmp_path / "scorer.py").write_bytes(b"def run(df): ...")
    assert (
        read_scorer(tmp_path / "scorer.py").sha256
        == hashlib.sha256(b"def run(df): ...").hexdigest()
    )
    with pytest.raises(ScorerError, match=r"nowhere\.py cannot be read: No such file"):
        read_scorer(tmp_path / "nowhere.py")


def test_what_is_run_is_what_was_hashed_and_no_compiled_copy_is_kept(tmp_path: Path):
    path = tmp_path / "scorer.py"
    path.write_text("def run(df):\n    return df.assign(y=1)\n")
    read = read_scorer(path)
    path.write_text("def run(df):\n    return df.assign(y=2)\n")
    score = scorer_for(job(scorer="scorer.py"), read, None)
    assert score(INPUTS)["y"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["scorer.py"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("model_version", "a column of every published table"),
        ("partition", "a column of every published table"),
        ("Partition", "names are compared without regard to case"),
        ("month", "the name of the destination's partition folders"),
        ("__row__", "reserved for internal use"),
        ("__filename", "reserved for internal use"),
    ],
)
def test_a_scorers_further_column_has_no_name_that_is_taken(tmp_path: Path, name: str, why: str):
    code = f"def run(df):\n    return df.assign(y=1.0, **{{{name!r}: 2.0}})"
    with pytest.raises(ScorerError) as error:
        own(tmp_path, code)(INPUTS)
    assert f"the scorer returned a column '{name}', which is " in str(error.value)
    assert why in str(error.value)
    assert "leave it out of what run returns" in str(error.value)


def test_a_scorer_may_drop_what_would_be_taken(tmp_path: Path):
    code = "def run(df):\n    return df.assign(y=df['month'], day=2.0)[['y', 'day']]"
    score = own(tmp_path, code, inputs={"month": {"type": "float64"}})
    assert score(pd.DataFrame({"month": [1.0, 2.0]})).columns.tolist() == ["y", "day"]


@pytest.mark.parametrize(
    "columns", ["'X': 1.0, 'x': 2.0", "'Y': 1.0", "'ID': 1.0", "1: 1.0, '1': 2.0"]
)
def test_columns_of_a_scorer_that_readers_could_not_distinguish_are_refused(
    tmp_path: Path, columns: str
):
    code = "import pandas as pd\ndef run(df):\n"
    code += f"    return pd.DataFrame({{'y': 1.0, {columns}}}, index=df.index)"
    with pytest.raises(ScorerError, match="that readers could not tell apart"):
        own(tmp_path, code)(INPUTS)
