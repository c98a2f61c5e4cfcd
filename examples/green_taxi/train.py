"""Train the model of the job `green_duration` on January 2021.

    python -m examples.green_taxi.train [--data .run/data]

makes the months that are missing (see `months.py`) and writes DATA/models/green_duration/v1.skops:
a DictVectorizer and a random forest, which the job scores from February on.
"""

import sys
from pathlib import Path

import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction import DictVectorizer
from sklearn.pipeline import Pipeline, make_pipeline

from examples import reproducible_skops
from examples.files import replaced_atomically
from examples.green_taxi.months import MONTHS, make_months, path_of
from examples.paths import data_parser

INPUTS = ["PU_DO", "trip_distance"]


def model_path(data: Path) -> Path:
    return data / "models" / "green_duration" / "v1.skops"


def read_rides(path: Path) -> pd.DataFrame:
    """Return INPUTS and `duration`, in minutes, of the rides of 1 to 60 minutes."""
    rides = pd.read_parquet(path)
    ridden = rides["lpep_dropoff_datetime"] - rides["lpep_pickup_datetime"]
    rides["duration"] = ridden.dt.total_seconds() / 60
    rides = rides[rides["duration"].between(1, 60)]
    pair = rides["PULocationID"].astype(str) + "_" + rides["DOLocationID"].astype(str)
    return rides.assign(PU_DO=pair)[[*INPUTS, "duration"]]


def train(rides: pd.DataFrame) -> Pipeline:
    """Return a model of `duration`; the same rows in the same order give the same model."""
    forest = RandomForestRegressor(
        n_estimators=100, max_depth=20, min_samples_leaf=10, random_state=0
    )
    model = make_pipeline(DictVectorizer(), forest)
    return model.fit(rides[INPUTS].to_dict(orient="records"), rides["duration"])


def main(arguments: list[str] | None = None) -> int:
    parser = data_parser("examples.green_taxi.train", (__doc__ or "").split("\n")[0])
    data: Path = parser.parse_args(arguments).data
    make_months(data)
    rides = read_rides(path_of(data, MONTHS[0]))
    with replaced_atomically(model_path(data)) as temporary:
        temporary.write_bytes(reproducible_skops.dumps(train(rides)))
    print(f"model v1: trained on {len(rides):,} rides: {model_path(data)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
