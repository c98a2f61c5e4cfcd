"""Score months of flights one after the other, each with the model that was in force then.

python month_script.py MODELS FLIGHTS TARGET MONTH [MONTH ...]
"""

import sys
from functools import cache
from pathlib import Path

import joblib
import pandas as pd

INPUTS = ["carrier", "origin", "dest", "hour", "distance", "dep_delay"]
KEPT = ["time_hour", "carrier", "flight", "origin", "predicted_arr_delay", "dest"]

models, flights, target, *months = sys.argv[1:]


@cache
def load(version):
    return joblib.load(Path(models, f"{version}.joblib"))


Path(target).mkdir(parents=True, exist_ok=True)
for month in months:
    model = load("v1" if month < "07" else "v2")
    columns = list(dict.fromkeys(["time_hour", "flight", *INPUTS]))
    file = Path(flights, "year=2013", f"month={month}", "flights.parquet")
    rows = pd.read_parquet(file, columns=columns, partitioning=None).dropna(subset=["dep_delay"])
    rows["predicted_arr_delay"] = model.predict(rows[INPUTS])
    output = Path(target, f"2013-{month}.parquet")
    rows[KEPT].to_parquet(output, compression="zstd", index=False)
