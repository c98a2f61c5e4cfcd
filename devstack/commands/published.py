"""What has been published, read from the manifests beside the predictions."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from devstack.errors import DevstackError


@dataclass(frozen=True)
class Published:
    """One row of the table: a partition and what was made of it."""

    partition: str
    model_version: str
    rows_in: int
    rows_scored: int
    rows_quarantined: int
    mean_prediction: float | None
    uri: str


def read_published(data: Path, job: str) -> list[Published]:
    """The job's partitions that are published, by date."""
    folder = destination(data, job) / "_manifests"
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def destination(data: Path, job: str) -> Path:
    """The folder of the job's predictions."""
    return data / "predictions" / job


def published_table(rows: Iterable[Published], folder: Path) -> Table:
    """For the terminal; files below `folder` are named relative to it."""
    table = Table(box=None, pad_edge=False)
    for title in ("month", "model"):
        table.add_column(title, no_wrap=True)
    for title in ("rows in", "scored", "quarantined", "mean"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    for row in rows:
        mean = "-" if row.mean_prediction is None else f"{row.mean_prediction:.2f}"
        counts = (row.rows_in, row.rows_scored, row.rows_quarantined)
        table.add_row(
            row.partition,
            row.model_version,
            *(f"{count:,}" for count in counts),
            mean,
            row.uri.removeprefix("file://").removeprefix(f"{folder}/"),
        )
    return table


def _read(path: Path) -> Published:
    try:
        manifest = json.loads(path.read_text())
        return Published(
            partition=manifest["partition"],
            model_version=manifest["model"]["version"],
            rows_in=manifest["rows"]["in"],
            rows_scored=manifest["rows"]["scored"],
            rows_quarantined=manifest["rows"]["quarantined"],
            mean_prediction=_mean(manifest["statistics"]),
            uri=manifest["output"]["uri"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DevstackError(f"the manifest {path} cannot be read: {error!r}") from None


def _mean(statistics: dict[str, dict[str, float]]) -> float | None:
    """Of the first predicted column: a regressor has one, a classifier one for each class."""
    first = next(iter(statistics.values()), {})
    return first.get("mean")
