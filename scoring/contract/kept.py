"""Which columns of a source can be published beside the predictions."""

from __future__ import annotations

import pyarrow as pa

from scoring.arrow.names import type_name
from scoring.arrow.published import published_type
from scoring.errors import ContractError
from scoring.job.schema import Job


def check_kept_types(schema: pa.Schema, job: Job, origin: str) -> None:
    """Raise ContractError, which names ``origin``, for a row id or a kept column that no published
    table can have.
    """
    for name in job.kept_columns:
        kind = schema.field(name).type
        if published_type(kind) is None:
            raise ContractError(
                f"{origin}: the column {name!r} is stored as {type_name(kind)}, which readers of "
                "the predictions would see as bare numbers or nothing. Store it as a number or as "
                "text, or leave it out of output.keep"
            )
        if name in job.id_columns and pa.types.is_nested(kind):
            raise ContractError(
                f"{origin}: the row id {name!r} is stored as {type_name(kind)}, and a row id is "
                "one value, such as a number or a text"
            )
