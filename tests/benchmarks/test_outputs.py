"""Programs that are compared have to predict the same rows with the same bits."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.peers.outputs import PREDICTION, check_same, read


def written(folder: Path, name: str, rows: dict[str, float]) -> list[Path]:
    file = folder / f"{name}.parquet"
    pd.DataFrame({"id": list(rows), PREDICTION: list(rows.values())}).to_parquet(file)
    return [file]


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    ours = read(written(tmp_path, "ours", {"a": 1.0, "b": 0.1}), ["id"])
    check_same("peer", ours, read(written(tmp_path, "peer", {"b": 0.1, "a": 1.0}), ["id"]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": 1.0}, "predicted 1 rows"),
        ({"a": 1.0, "c": 0.1}, "other rows"),
        ({"a": 0.1, "b": 1.0}, "2 rows with other bits"),
        ({"a": 1.0, "b": 0.1 + 2**-55}, "1 rows with other bits"),
    ],
)
def test_a_difference_ends_the_benchmark(
    tmp_path: Path, rows: dict[str, float], message: str
) -> None:
    ours = read(written(tmp_path, "ours", {"a": 1.0, "b": 0.1}), ["id"])
    theirs = read(written(tmp_path, "peer", rows), ["id"])
    with pytest.raises(SystemExit, match=message):
        check_same("peer", ours, theirs)


def test_a_moment_is_the_same_in_every_unit(tmp_path: Path) -> None:
    tables = []
    for unit in ("us", "ns"):
        moment = pd.Series(pd.to_datetime(["2013-05-01T09:00Z"])).dt.as_unit(unit)
        rows = pd.DataFrame({"time_hour": moment, "carrier": "UA", PREDICTION: 1.0})
        rows.to_parquet(tmp_path / f"{unit}.parquet")
        tables.append(read([tmp_path / f"{unit}.parquet"], ["time_hour", "carrier"]))
    check_same("peer", *tables)
