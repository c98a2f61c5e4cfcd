"""Where the flights and the models lie below the data folder. Imports nothing heavy: it is asked
before all else.
"""

import argparse
from pathlib import Path

MONTHS = range(1, 13)
MODEL_VERSIONS = ("v1", "v2")


def month_path(data: Path, month: int) -> Path:
    """Return the flights of a month of 2013; the job file's source URI is the same template."""
    return data / "flights" / "year=2013" / f"month={month:02d}" / "flights.parquet"


def model_path(data: Path, version: str) -> Path:
    """Return a model version; the job file's model URIs are the same template."""
    return data / "models" / "flight_delay" / f"{version}.skops"


def missing_files(data: Path) -> list[Path]:
    """Return what `python -m examples` has to make."""
    wanted = [month_path(data, month) for month in MONTHS] + [
        model_path(data, version) for version in MODEL_VERSIONS
    ]
    return [path for path in wanted if not path.exists()]


def data_parser(command: str, description: str) -> argparse.ArgumentParser:
    """Return the command line that all commands here have: `--data`, the folder."""
    parser = argparse.ArgumentParser(prog=f"python -m {command}", description=description)
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(".run/data"),
        help="folder of flights and models (default: %(default)s)",
    )
    return parser
