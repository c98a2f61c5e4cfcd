"""Run by the Python of an environment with MLflow: registers models at a server, and saves folders.

python mlflow_models.py SERVER FOLDER
"""

from __future__ import annotations

import json
import pickle
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

FRAME = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
TAGS = {"1": "2013-02", "2": "2013-04"}
STEPS = """
from sklearn.base import BaseEstimator, TransformerMixin

class Doubled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self
    def transform(self, X):
        return X * 2
"""


class Plus(mlflow.pyfunc.PythonModel):
    """Adds what an artifact says, which it reads when it predicts."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        plus = json.loads(Path(context.artifacts["plus"]).read_text())
        return model_input["x"] + plus


def fitted(slope: float) -> LinearRegression:
    return LinearRegression().fit(FRAME, slope * FRAME["x"])


def main(server: str, folder: Path) -> None:
    mlflow.set_tracking_uri(server)
    mlflow.set_experiment("rides")
    options: dict[str, Any] = {"signature": infer_signature(FRAME, FRAME["x"])}
    options["pip_requirements"] = []
    client = mlflow.MlflowClient()
    with mlflow.start_run():
        for slope, form in ((2.0, "cloudpickle"), (3.0, "skops")):
            mlflow.sklearn.log_model(
                fitted(slope),
                name="model",
                registered_model_name="ride",
                serialization_format=form,
                **options,
            )
        classes = LogisticRegression().fit(FRAME, ["no", "no", "yes", "yes"])
        mlflow.sklearn.log_model(classes, name="model", registered_model_name="late", **options)
        (folder / "plus.json").write_text("10")
        mlflow.pyfunc.log_model(
            name="model",
            python_model=Plus(),
            artifacts={"plus": str(folder / "plus.json")},
            registered_model_name="plus",
            **options,
        )
    for number, key in TAGS.items():
        client.set_model_version_tag("ride", number, "in_force_from", key)
    client.set_registered_model_alias("ride", "champion", "1")

    frame = pd.DataFrame({"zone": ["a", "b", "a", "c"], "x": [1.0, 2.0, 3.0, 4.0]})
    vectorizer = DictVectorizer()
    vectors = vectorizer.fit_transform(frame.to_dict(orient="records"))
    model = LinearRegression().fit(vectors, [1.0, 4.0, 3.0, 9.0])
    mlflow.sklearn.save_model(
        model, folder / "zones", serialization_format="cloudpickle", pip_requirements=[]
    )
    (folder / "zones.pkl").write_bytes(pickle.dumps(vectorizer))
    np.save(folder / "zones.npy", model.predict(vectors))

    (folder / "ride_steps.py").write_text(STEPS)
    sys.path.insert(0, str(folder))
    from ride_steps import Doubled

    with_code = make_pipeline(Doubled(), LinearRegression()).fit(FRAME, FRAME["x"])
    mlflow.sklearn.save_model(
        with_code,
        folder / "coded",
        serialization_format="cloudpickle",
        code_paths=[str(folder / "ride_steps.py")],
        **options,
    )
    (folder / "ride_steps.py").unlink()
    needs = [f"{name}=={version(name)}" for name in ("mlflow-skinny", "cloudpickle")]
    mlflow.pyfunc.save_model(
        folder / "plus",
        python_model=Plus(),
        artifacts={"plus": str(folder / "plus.json")},
        signature=options["signature"],
        pip_requirements=needs,
    )
    mixed = pd.DataFrame({"x": [0.0, 1.0, 2.0], "n": pd.array([1, 2, 3], dtype="int32")})
    trained = make_pipeline(HistGradientBoostingRegressor()).fit(mixed, [1.0, 2.0, 4.0])
    mlflow.sklearn.save_model(
        trained,
        folder / "needs",
        serialization_format="cloudpickle",
        signature=infer_signature(mixed),
        pip_requirements=["mlflow", f"scikit-learn=={version('scikit-learn')}"],
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
