"""Make the flights and the models that are missing; done at once when none is (pandas takes seconds to import)."""

import argparse
import sys
from pathlib import Path

from examples.paths import missing_files


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples", description=(__doc__ or "").split(";")[0]
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(".run/data"),
        help="folder to write to (default: %(default)s)",
    )
    data: Path = parser.parse_args(arguments).data
    if not missing_files(data):
        print(f"flights and models are there: {data}")
        return 0
    from examples import flights, train_flight_delay

    return flights.main(["--data", str(data)]) or train_flight_delay.main(["--data", str(data)])


if __name__ == "__main__":
    sys.exit(main())
