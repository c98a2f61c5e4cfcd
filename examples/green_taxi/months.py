"""Months of made-up rides, in the columns of the city's files, for trying the job without them.

The files that New York's Taxi & Limousine Commission publishes (TLC Trip Record Data, green taxis)
fit in their place: a month that is there already is never replaced.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from examples.files import replaced_atomically

MONTHS = ("2021-01", "2021-02", "2021-03")
RIDES = 3_000
ZONES = 12  # of 265 in the city
MINUTES_PER_MILE = 4.0


def path_of(data: Path, month: str) -> Path:
    """Return the file of a month; the job's source URI is the same template."""
    return data / "green" / f"green_tripdata_{month}.parquet"


def make_months(data: Path) -> None:
    """Write each month that is not there."""
    for month in MONTHS:
        path = path_of(data, month)
        if path.exists():
            print(f"{month}: exists: {path}")
            continue
        with replaced_atomically(path) as temporary:
            rides(month).to_parquet(temporary, index=False)
        print(f"{month}: {RIDES:,} made-up rides: {path}")


def rides(month: str) -> pd.DataFrame:
    """Return the rides of a month, the same each time."""
    chance = np.random.default_rng(int(month.replace("-", "")))
    first = pd.Timestamp(month)
    seconds = np.sort(chance.integers(0, first.days_in_month * 86_400, RIDES))
    picked = first + pd.to_timedelta(seconds, unit="s")
    zones = chance.integers(1, ZONES + 1, (2, RIDES))
    miles = np.round(chance.lognormal(0.7, 0.7, RIDES), 2)
    minutes = 2 + MINUTES_PER_MILE * miles + np.abs(zones[0] - zones[1])
    minutes *= chance.lognormal(0, 0.2, RIDES)
    # Some meters are switched on and off at once, others are forgotten.
    kind = chance.random(RIDES)
    minutes = np.where(kind < 0.03, chance.uniform(0, 1, RIDES), minutes)
    minutes = np.where(kind > 0.98, chance.uniform(61, 1_440, RIDES), minutes)
    return pd.DataFrame(
        {
            "lpep_pickup_datetime": picked,
            "lpep_dropoff_datetime": picked + pd.to_timedelta(np.round(minutes * 60), unit="s"),
            "PULocationID": zones[0],
            "DOLocationID": zones[1],
            "trip_distance": miles,
        }
    )
