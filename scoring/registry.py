"""Which kinds of sources, models and destinations exist, and where each one's code is.

A package adds a kind with an entry point: its group is ``scoring.sources``, ``scoring.models`` or
``scoring.destinations``, its name is what a job file writes as ``format``.  Nothing is imported
before a job needs the kind, because Airflow reads these names whenever it parses a Dag file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@dataclass(frozen=True)
class Registry:
    """The kinds of one group: ``built_in`` maps a name to ``module:attribute``."""

    group: str
    built_in: dict[str, str]

    def __contains__(self, name: str) -> bool:
        return name in self.built_in or name in _added(self.group)

    def names(self) -> list[str]:
        """Return all names, the built-in ones first."""
        return [*self.built_in, *sorted(set(_added(self.group)) - set(self.built_in))]

    def load(self, name: str) -> Any:
        """Return the code of the kind ``name``.  Raises KeyError for an unknown kind, and
        ImportError.
        """
        if name not in self.built_in:
            return _added(self.group)[name].load()
        module, _, attribute = self.built_in[name].partition(":")
        return getattr(import_module(module), attribute)


@cache
def _added(group: str) -> dict[str, EntryPoint]:
    return {found.name: found for found in entry_points(group=group)}


SOURCES = Registry(
    "scoring.sources",
    {
        "parquet": "scoring.sources.parquet:ParquetSource",
        "csv": "scoring.sources.csv:CsvSource",
        "sql": "scoring.sources.sql:SqlSource",
        "files_sql": "scoring.sources.files_sql:FilesSqlSource",
    },
)
"""Classes that are called as ``scoring.sources.base.SourceKind`` says."""

MODELS = Registry(
    "scoring.models",
    {
        "skops": "scoring.models.skops:load",
        "joblib": "scoring.models.joblib:load",
        "mlflow": "scoring.models.mlflow.loader:load",
        "onnx": "scoring.models.onnx:load",
        "lightgbm": "scoring.models.lightgbm:load",
        "xgboost": "scoring.models.xgboost:load",
        "catboost": "scoring.models.catboost:load",
    },
)
"""Functions that are called as ``scoring.models.base.Loader`` says, or as ``FolderLoader`` there."""

DESTINATIONS = Registry(
    "scoring.destinations",
    {"parquet": "scoring.destinations.parquet:ParquetPublisher"},
)
"""Classes that are called as ``scoring.destinations.base.PublisherKind`` says."""
