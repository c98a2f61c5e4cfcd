"""The model section of a job file: the versions, and when each is in force."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scoring.job.section import Section, check_kind
from scoring.job.uri_templates import check_root_template
from scoring.registry import MODELS

ModelFormat = Annotated[str, AfterValidator(partial(check_kind, MODELS))]


class ModelVersionConfig(Section):
    """One version of the model, and the partition from which it is in force."""

    version: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            description="The version's name: letters, digits, `.`, `_` and `-`, beginning with a "
            "letter or digit; at most 64 characters.",
        ),
    ]
    uri: Annotated[
        str,
        AfterValidator(check_root_template),
        Field(
            description="The [URI](#uris) of one file, on disk or in S3. It may contain `{data}` "
            "and `{models}`, but no field of a partition."
        ),
    ]
    sha256: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{64}$",
            description="The file's SHA-256 digest, 64 lowercase hexadecimal digits, as printed by "
            "`sha256sum FILE`. Required for all formats except skops.",
        ),
    ] = None
    in_force_from: Annotated[
        str,
        Field(
            description="The [key](#partitions-and-their-keys) of the first partition that this "
            "version scores under `as_of`."
        ),
    ]
    format: Annotated[
        ModelFormat | None,
        Field(
            description="`skops`, `joblib`, or a kind that a [package](architecture.md#add-a-kind) "
            "adds. By default, the file extension of `uri`."
        ),
    ] = None

    @property
    def file_format(self) -> str:
        """The model kind that loads the file: ``format``, else the file extension of the URI."""
        return self.format or Path(self.uri).suffix.removeprefix(".")


class ModelConfig(Section):
    """The versions of the model, and which of them scores which partition."""

    policy: Annotated[
        Literal["as_of", "current"],
        Field(
            description="`as_of`: the version in force at the partition, so that a backfill never "
            "uses a later one. `current`: the newest version, for all partitions."
        ),
    ] = "as_of"
    versions: Annotated[
        list[ModelVersionConfig],
        Field(min_length=1, description="The history of promotions."),
    ]
    trusted_types: Annotated[
        list[str],
        Field(
            description="Types that a skops file may contain in addition to those that skops "
            "considers safe. The error for a missing one names it."
        ),
    ] = []
