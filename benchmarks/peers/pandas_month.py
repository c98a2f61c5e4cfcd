"""Score all files of a folder, one after the other, with pandas.

python pandas_month.py MODEL.joblib FLIGHTS TARGET
"""

import sys
from pathlib import Path

import joblib
import pandas as pd

INPUTS = ["carrier", "origin", "dest", "hour", "distance", "dep_delay"]

model_file, flights, target = sys.argv[1:]
model = joblib.load(model_file)
Path(target).mkdir(parents=True)
for file in sorted(Path(flights).glob("*.parquet")):
    rows = pd.read_parquet(file, columns=["id", *INPUTS]).dropna(subset=["dep_delay"])
    rows["predicted_arr_delay"] = model.predict(rows[INPUTS])
    predictions = rows[["id", "predicted_arr_delay", "dest"]]
    predictions.to_parquet(Path(target, file.name), compression="zstd", index=False)
