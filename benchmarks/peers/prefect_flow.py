"""A Prefect flow that scores months of flights, each with the model that was in force then.

python prefect_flow.py MODELS FLIGHTS TARGET MONTH [MONTH ...]
"""

import sys
from functools import cache
from pathlib import Path

import joblib
import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait

INPUTS = ["carrier", "origin", "dest", "hour", "distance", "dep_delay"]
KEPT = ["time_hour", "carrier", "flight", "origin", "predicted_arr_delay", "dest"]
# Without NO_CACHE, Prefect would pickle and hash every table that a task is given.
RETRIED = {"retries": 3, "retry_delay_seconds": 10, "cache_policy": NO_CACHE}


@cache
def load(models, version):
    return joblib.load(Path(models, f"{version}.joblib"))


@task(**RETRIED)
def extract(flights, month):
    columns = list(dict.fromkeys(["time_hour", "flight", *INPUTS]))
    file = Path(flights, "year=2013", f"month={month}", "flights.parquet")
    rows = pd.read_parquet(file, columns=columns, partitioning=None)
    return rows.dropna(subset=["dep_delay"])


@task(**RETRIED)
def score(rows, models, month):
    model = load(models, "v1" if month < "07" else "v2")
    return rows.assign(predicted_arr_delay=model.predict(rows[INPUTS]))[KEPT]


@task(**RETRIED)
def upload(predictions, target, month):
    output = Path(target, f"2013-{month}.parquet")
    predictions.to_parquet(output, compression="zstd", index=False)


@flow
def flight_delay(models, flights, target, months):
    Path(target).mkdir(parents=True, exist_ok=True)
    uploads = []
    for month in months:
        rows = extract.submit(flights, month)
        predictions = score.submit(rows, models, month)
        uploads.append(upload.submit(predictions, target, month))
    wait(uploads)
    for done in uploads:
        done.result()


if __name__ == "__main__":
    models, flights, target, *months = sys.argv[1:]
    flight_delay(models, flights, target, months)
