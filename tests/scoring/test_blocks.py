"""A row has the same bits alone, at the end of a batch, and in the middle of a large one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from threadpoolctl import threadpool_limits

from scoring.engine import score_table
from scoring.job.schema import Job
from scoring.models.sklearn import SklearnModel
from scoring.models.user_scorer import ScorerFile, UserScorer
from tests.scoring.factories import JOB, merged

COLUMNS, ROWS = 13, 8192
RANDOM = np.random.default_rng(7)
FRAME = pd.DataFrame({f"c{n}": RANDOM.normal(size=ROWS) for n in range(COLUMNS)})
Y = FRAME.to_numpy() @ RANDOM.normal(size=COLUMNS) + RANDOM.normal(size=ROWS)

MODELS = {
    "linear": LinearRegression(),
    "pipeline": make_pipeline(StandardScaler(), PCA(5), Ridge()),
    "polynomial": make_pipeline(StandardScaler(), PolynomialFeatures(2), Ridge()),
    "neural": MLPRegressor(hidden_layer_sizes=(64, 32), max_iter=5, random_state=0),
    "trees": HistGradientBoostingRegressor(max_iter=10),
    "logistic": LogisticRegression(),
    "bayes": GaussianNB(),
}
CLASSIFIERS = {"logistic", "bayes"}


def scored(model: Any, job: Job, frame: pd.DataFrame) -> list[bytes]:
    """The bits of each row's outputs."""
    table = pa.table({"id": range(len(frame)), **{name: frame[name] for name in frame}})
    with threadpool_limits({"openmp": 1, "blas": 1}):
        found = score_table(table, model, job).table
    outputs = [name for name in found.column_names if name != "id"]
    return [row.tobytes() for row in np.column_stack([found.column(name) for name in outputs])]


@pytest.mark.parametrize("by_scorer", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_company_of_a_row_does_not_change_its_bits(name: str, by_scorer: bool):
    is_classifier = name in CLASSIFIERS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = MODELS[name].fit(
            FRAME[:1000], (Y[:1000] > 0).astype(int) if is_classifier else Y[:1000]
        )
    inputs = {column: {"type": "float64"} for column in FRAME}
    output = {"prediction": "y"} | ({"probabilities": {"p": 1}} if is_classifier else {})
    own = {"scorer": "scorer.py"} if by_scorer else {}
    job = Job.model_validate(merged(JOB, {"output": output}) | {"inputs": inputs} | own)
    model: Any = SklearnModel(estimator)
    if by_scorer:
        method = "predict_proba(df)[:, 1]" if is_classifier else "predict(df)"
        code = (
            "import pandas as pd\n"
            "def run(df, model):\n"
            f"    y = model.{method}\n"
            "    return pd.DataFrame({'y': y, 'p': y}, index=df.index)\n"
        )
        model = UserScorer(ScorerFile(Path("scorer.py"), code.encode(), "0" * 64), model)
    together = scored(model, job, FRAME)
    for size in (1, 2, 3, 5, 7, 17, 100, 1001):
        for start in range(0, min(ROWS - size, 40 * size), size):
            part = FRAME.iloc[start : start + size].reset_index(drop=True)
            assert scored(model, job, part) == together[start : start + size], (size, start)


def test_without_blocks_a_single_row_of_a_linear_model_would_have_other_bits(
    monkeypatch: pytest.MonkeyPatch,
):
    model = SklearnModel(LinearRegression().fit(FRAME[:1000], Y[:1000]))
    inputs = {column: {"type": "float64"} for column in FRAME}
    job = Job.model_validate(JOB | {"inputs": inputs})
    together = scored(model, job, FRAME)
    monkeypatch.setattr("scoring.engine.BLOCK_ROWS", 1)
    alone = [scored(model, job, FRAME[n : n + 1].reset_index(drop=True))[0] for n in range(500)]
    if alone == together[:500]:
        pytest.skip("this processor's BLAS adds a single row up as it does the rows of a matrix")
