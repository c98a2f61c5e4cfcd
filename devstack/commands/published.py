"""The table of published partitions, with which `make run` ends."""

from rich.table import Table

from scoring.destinations.base import Publisher
from scoring.destinations.manifest import Manifest


def published_table(publisher: Publisher) -> Table:
    """Return one row per published partition, by date; files are named relative to the destination."""
    table = Table(box=None, pad_edge=False)
    for title in ("month", "model"):
        table.add_column(title, no_wrap=True)
    for title in ("rows in", "scored", "quarantined", "mean"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    for manifest in publisher.all_published():
        rows = manifest.rows
        table.add_row(
            manifest.partition,
            manifest.model.version,
            *(f"{count:,}" for count in (rows.rows_in, rows.scored, rows.quarantined)),
            _mean(manifest),
            manifest.output.uri.removeprefix(f"{publisher.uri}/"),
        )
    return table


def _mean(manifest: Manifest) -> str:
    """Return the mean of the first predicted column: a regressor has one, a classifier one per
    class.
    """
    first = next(iter(manifest.statistics.values()), {})
    mean = first.get("mean")
    return "-" if mean is None else f"{mean:.2f}"
