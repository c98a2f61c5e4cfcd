"""Run by the Python of an environment under test: writes a month of rows, a model and the job that scores it.

    python month.py FOLDER

The model is made where it is used: scikit-learn reads no model of another release without a warning.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import joblib
import pandas as pd
from sklearn.linear_model import LinearRegression

ROWS = 1_000


def main(folder: Path) -> None:
    rows = pd.DataFrame({"order_id": range(ROWS), "items": [n % 7 + 1 for n in range(ROWS)]})
    rows["weight_kg"] = rows["items"] * 0.5 + rows["order_id"] % 10
    rows.to_parquet(folder / "2024-01.parquet")
    minutes = 5 + 2 * rows["items"] + rows["weight_kg"]
    model = folder / "model.joblib"
    joblib.dump(LinearRegression().fit(rows[["items", "weight_kg"]], minutes), model)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    (folder / "jobs").mkdir()
    (folder / "jobs" / "minutes.yaml").write_text(
        f"""\
name: minutes
schedule: "0 3 2 * *"
start: 2024-01
end: 2024-01
source: {{uri: "{folder}/{{partition}}.parquet"}}
row_id: [order_id]
inputs: {{items: {{type: int64}}, weight_kg: {{type: float64}}}}
model: {{versions: [{{version: v1, uri: "{model}", in_force_from: 2024-01, sha256: {digest}}}]}}
destination: {{uri: "{folder}/predictions"}}
"""
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
