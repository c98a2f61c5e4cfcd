"""Train the two models of the job `flight_delay`: how many minutes late a flight arrives.

    python -m examples.train_flight_delay [--data .run/data]

writes DATA/models/flight_delay/v1.skops, trained on January 2013, and v2.skops, trained on January
to June. v1 scores from February and v2 from July: neither has seen a month that it scores. Both
take the same columns (INPUTS), known when a flight leaves the gate; rows without a departure or an
arrival (cancelled, diverted) teach nothing and are left out.

`month` is not an input: v1 knows a single one. The loss is the absolute error: a few flights are
twenty hours late, and a model of the mean would be led by them.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import sklearn.compose
import sklearn.ensemble
import sklearn.pipeline
import sklearn.preprocessing
import threadpoolctl

from examples import reproducible_skops
from examples.files import replaced_atomically
from examples.paths import data_parser, model_path, month_path

TEXTS = ["carrier", "origin", "dest"]
NUMBERS = ["dep_delay", "distance", "hour"]  # minutes, miles, scheduled hour of departure (local)
INPUTS = TEXTS + NUMBERS
TARGET = "arr_delay"  # minutes

TRAINED_ON_MONTHS = {"v1": range(1, 2), "v2": range(1, 7)}


def read_months(data: Path, months: Iterable[int]) -> pd.DataFrame:
    """Return INPUTS and TARGET of the flights that left and arrived. Texts are object columns:
    faster to encode.
    """
    frames = [
        pd.read_parquet(month_path(data, month), columns=[*INPUTS, TARGET]) for month in months
    ]
    rows = pd.concat(frames, ignore_index=True).dropna(subset=["dep_delay", TARGET])
    return rows.astype(dict.fromkeys(TEXTS, object))


def train(rows: pd.DataFrame) -> sklearn.pipeline.Pipeline:
    """Return a model of TARGET from INPUTS; the same rows in the same order give the same model."""
    encode = sklearn.compose.ColumnTransformer(
        [
            # An airline or airport that training has not seen is -1, not an error.
            (
                "codes",
                sklearn.preprocessing.OrdinalEncoder(
                    handle_unknown="use_encoded_value", unknown_value=-1
                ),
                TEXTS,
            ),
            ("numbers", "passthrough", NUMBERS),
        ]
    )
    regress = sklearn.ensemble.HistGradientBoostingRegressor(
        loss="absolute_error", random_state=2013
    )
    model = sklearn.pipeline.Pipeline([("encode", encode), ("regress", regress)])
    # One thread: sums of floats depend on how many threads share them.
    with threadpoolctl.threadpool_limits(1):
        return model.fit(rows[INPUTS], rows[TARGET])


def train_version(data: Path, version: str) -> str:
    """Train and write one version; returns a line that says how good it is on the month after its
    last.
    """
    months = TRAINED_ON_MONTHS[version]
    rows = read_months(data, months)
    model = train(rows)
    path = model_path(data, version)
    with replaced_atomically(path) as temporary:
        temporary.write_bytes(reproducible_skops.dumps(model))

    unseen = read_months(data, [months[-1] + 1])
    error = (model.predict(unseen[INPUTS]) - unseen[TARGET]).abs().mean()
    naive = (unseen["dep_delay"] - unseen[TARGET]).abs().mean()
    return (
        f"model {version}: {len(rows):,} flights, months 1-{months[-1]}; mean absolute error in "
        f"month {months[-1] + 1}: {error:.2f} minutes ('arrives as late as it left': {naive:.2f}): "
        f"{path}"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = data_parser("examples.train_flight_delay", (__doc__ or "").split("\n")[0])
    parser.add_argument("--force", action="store_true", help="retrain versions that exist")
    options = parser.parse_args(arguments)
    data: Path = options.data
    if not month_path(data, 1).exists():
        hint = f"Write them first: python -m examples.flights --data {data}"
        print(f"error: no flights in {data / 'flights'}. {hint}", file=sys.stderr)
        return 1
    for version in TRAINED_ON_MONTHS:
        if model_path(data, version).exists() and not options.force:
            print(f"model {version}: exists: {model_path(data, version)}")
        else:
            print(train_version(data, version))
    return 0


if __name__ == "__main__":
    sys.exit(main())
