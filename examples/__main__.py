"""Make the flights and the models that are missing; done at once when none is (pandas takes seconds
to import).
"""

import os
import sys
from pathlib import Path

from examples.paths import data_parser, missing_files


def main(arguments: list[str] | None = None) -> int:
    parser = data_parser("examples", (__doc__ or "").split(";")[0])
    data: Path = parser.parse_args(arguments).data
    os.umask(os.umask(0o077) | 0o022)  # nobody else may write what is made here
    if not missing_files(data):
        print(f"flights and models exist: {data}")
        return 0
    from examples import flights, train_flight_delay

    return flights.main(["--data", str(data)]) or train_flight_delay.main(["--data", str(data)])


if __name__ == "__main__":
    sys.exit(main())
