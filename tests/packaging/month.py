"""Run by the Python of an environment under test: writes a month of orders and a model.

    python month.py DATA

The model is made where it is used: scikit-learn reads no model of another release without a
warning.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import skops.io
from sklearn.linear_model import LinearRegression

ROWS = 1_000


def main(data: Path) -> None:
    rows = pd.DataFrame({"order_id": range(ROWS), "items": [n % 7 + 1 for n in range(ROWS)]})
    rows["weight_kg"] = rows["items"] * 0.5 + rows["order_id"] % 10
    minutes = 5 + 2 * rows["items"] + rows["weight_kg"]
    model = LinearRegression().fit(rows[["items", "weight_kg"]], minutes)
    for folder in ("orders", "models"):
        (data / folder).mkdir(parents=True)
    rows.to_parquet(data / "orders" / "2024-01.parquet")
    skops.io.dump(model, data / "models" / "delivery_time.skops")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
