"""The destination section of a job file: where predictions are published."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator

from scoring.job.section import Problem, Section, check_kind, problems_of
from scoring.job.uri_templates import check_root_fields, check_root_template
from scoring.registry import DESTINATIONS
from scoring.storage.base import Encryption


class DestinationConfig(Section):
    """Under which URI the partitions are published, and how S3 encrypts them there.

    ``former_names`` are those of the job: what it has published there under them is its own.
    """

    uri: Annotated[str, AfterValidator(check_root_fields)]
    format: Annotated[str, AfterValidator(partial(check_kind, DESTINATIONS))] = "parquet"
    sse: Literal["AES256", "aws:kms"] | None = None
    kms_key_id: str | None = None
    former_names: list[str] = []

    @property
    def encryption(self) -> Encryption | None:
        return Encryption(self.sse, self.kms_key_id) if self.sse else None

    def problems(self) -> Iterator[Problem]:
        """What is wrong in a section whose single fields are all right (see ``Job.problems``)."""
        if self.format in DESTINATIONS.built_in:
            yield from problems_of(check_root_template, "uri", self.uri)
        if self.kms_key_id and self.sse != "aws:kms":
            yield ("kms_key_id",), "is for sse: aws:kms"
