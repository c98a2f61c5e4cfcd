"""The destination section of a job file: where predictions are published."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scoring.job.section import Problem, Section, check_kind, problems_of
from scoring.job.uri_templates import check_root_fields, check_root_template
from scoring.registry import DESTINATIONS
from scoring.storage.base import Encryption


class DestinationConfig(Section):
    """Where partitions are published, and how S3 encrypts them."""

    uri: Annotated[
        str,
        AfterValidator(check_root_fields),
        Field(
            description="The [URI](#uris) of the folder under which partitions are published. It "
            "may contain `{data}` and `{models}`, but no field of a partition."
        ),
    ]
    format: Annotated[
        str,
        AfterValidator(partial(check_kind, DESTINATIONS)),
        Field(
            description="`parquet`, or a kind that a [package](architecture.md#add-a-kind) adds; "
            "such a kind defines its own URIs."
        ),
    ] = "parquet"
    sse: Annotated[
        Literal["AES256", "aws:kms"] | None,
        Field(description="Server-side encryption of new objects in [S3](s3.md)."),
    ] = None
    kms_key_id: Annotated[
        str | None, Field(description="The KMS key, in S3 with `sse: aws:kms`.")
    ] = None
    former_names: Annotated[
        list[str],
        Field(
            description="Earlier names of this job, if it [was "
            "renamed](runbook.md#a-job-is-to-have-another-name). It owns what was published under "
            "them."
        ),
    ] = []

    @property
    def encryption(self) -> Encryption | None:
        return Encryption(self.sse, self.kms_key_id) if self.sse else None

    def problems(self) -> Iterator[Problem]:
        """Report fields that contradict each other (see ``Job.problems``)."""
        if self.format in DESTINATIONS.built_in:
            yield from problems_of(check_root_template, "uri", self.uri)
        if self.kms_key_id and self.sse != "aws:kms":
            yield ("kms_key_id",), "requires sse: aws:kms"
