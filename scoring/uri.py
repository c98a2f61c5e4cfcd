"""URIs in a job: templates, the roots they start from, and how relative ones are resolved.

A template may use the roots ``{data}`` and ``{models}`` (from the environment variables
SCORING_DATA and SCORING_MODELS, so that the same job runs on a laptop and in production) and the
fields of the partition: ``{year}``, ``{month}``, ``{week}``, ``{day}``, ``{hour}``, ``{partition}``.
"""

from __future__ import annotations

import os
import string
from dataclasses import dataclass
from pathlib import Path

from scoring.partition import Partition

ROOT_FIELDS = ("data", "models")
PARTITION_FIELDS = ("year", "month", "week", "day", "hour", "partition")


def check_template(template: str) -> str:
    """``template`` itself, or ValueError naming the field that is not known."""
    return _checked(template, [*ROOT_FIELDS, *PARTITION_FIELDS], "in a URI")


def check_root_template(template: str) -> str:
    """Like ``check_template``, for a URI that is the same for all partitions."""
    return _checked(template, [*ROOT_FIELDS], "here (it is one URI for all partitions)")


def _checked(template: str, known: list[str], where: str) -> str:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r} is not a URI template: {error}") from None
    for _, name, spec, conversion in parsed:
        if name is not None and (name not in known or spec or conversion):
            field = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(f"{{{field}}} is not known {where}; these are: {', '.join(known)}")
    scheme, found, _ = template.partition("://")
    if found and scheme not in ("file", "s3"):
        raise ValueError(f"{scheme}:// is not supported; s3://, file:// and plain paths are")
    return template


@dataclass(frozen=True)
class Roots:
    """What ``{data}`` and ``{models}`` stand for, and the folder relative paths start from."""

    data: str
    models: str
    base: Path

    @classmethod
    def of(cls, base: Path, data: str | None = None) -> Roots:
        """``data``, else SCORING_DATA, else ``.run/data``; models in SCORING_MODELS or data/models."""
        data = data or os.environ.get("SCORING_DATA") or str(Path(".run/data").absolute())
        data = os.path.abspath(data) if "://" not in data else data
        models = os.environ.get("SCORING_MODELS") or f"{data}/models"
        return cls(data.rstrip("/"), models.rstrip("/"), base.absolute())

    def expand(self, template: str, partition: Partition | None = None) -> str:
        """The absolute URI that ``template`` gives for ``partition``; plain paths stay paths."""
        fields = {"data": self.data, "models": self.models}
        uri = template.format_map(fields | (partition.uri_fields if partition else {}))
        uri = uri.removeprefix("file://")
        return uri if "://" in uri else os.path.normpath(self.base / uri)
