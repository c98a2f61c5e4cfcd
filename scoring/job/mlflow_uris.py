"""URIs of models in an MLflow registry: ``mlflow:models:/NAME/3``, ``…@ALIAS``, ``mlflow:models:/NAME``."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "mlflow:"
_URI = re.compile(
    r"mlflow:models:/(?P<name>[^/@:{}'\"\\\x00-\x1f\x7f]+)"
    r"(?:/(?P<number>[1-9][0-9]{0,8})|@(?P<alias>[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}))?"
)


@dataclass(frozen=True)
class RegisteredUri:
    """A registered model: a version by its number, by an alias, or (neither) by a tag."""

    name: str
    number: str | None = None
    alias: str | None = None

    @property
    def moves(self) -> bool:
        """Whether it may mean another version tomorrow."""
        return self.number is None

    def __str__(self) -> str:
        which = f"/{self.number}" if self.number else f"@{self.alias}" if self.alias else ""
        return f"{PREFIX}models:/{self.name}{which}"


def parse_registered(uri: str) -> RegisteredUri | None:
    """Return what a ``mlflow:`` URI means; None for every other URI.

    Raises ValueError for one that is not valid.
    """
    if re.match(r"(models|runs):/", uri):
        raise ValueError(f"is a URI of MLflow's; write {PREFIX}models:/NAME/VERSION")
    if not uri.startswith(PREFIX):
        return None
    found = _URI.fullmatch(uri)
    if found is None:
        raise ValueError(
            f"{uri!r} does not name a registered model; write mlflow:models:/NAME/3 (a version), "
            "mlflow:models:/NAME@ALIAS or mlflow:models:/NAME (the versions' tags in_force_from)"
        )
    return RegisteredUri(found["name"], found["number"], found["alias"])


def is_folder(uri: str) -> bool:
    """Whether ``uri`` means all files of a folder: of a registered model, or with a ``/`` at the end."""
    return uri.startswith(PREFIX) or uri.endswith("/")
