"""The model section of a job file: versions, and from which partition on each is in force."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scoring.job.section import Section, check_kind
from scoring.job.uri_templates import check_root_template
from scoring.registry import MODELS


class ModelVersionConfig(Section):
    """One version of the model, and from which partition on it is in force."""

    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    uri: Annotated[str, AfterValidator(check_root_template)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    in_force_from: str
    format: Annotated[str, AfterValidator(partial(check_kind, MODELS))] | None = None

    @property
    def file_format(self) -> str:
        """The model kind that loads the file: as ``format`` says, else as the URI ends."""
        return self.format or Path(self.uri).suffix.removeprefix(".")


class ModelConfig(Section):
    """Which version scores which partition, and what its file may contain."""

    policy: Literal["as_of", "current"] = "as_of"
    versions: Annotated[list[ModelVersionConfig], Field(min_length=1)]
    trusted_types: list[str] = []
