"""Which further columns would make the row ids of a partition unique."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from itertools import chain, combinations, repeat

import numpy as np
import pandas as pd
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.hashing import Hashes, hash_columns
from scoring.arrow.text import decoded
from scoring.expressions.evaluate import columns_to_read
from scoring.job.columns import why_taken
from scoring.pipeline.checked_rows import RowChecker
from scoring.pipeline.context import PartitionContext
from scoring.sources.base import Source
from scoring.sources.files import FileSource

IDS_LOOKED_AT = 1_000
ROWS_READ = 2_000_000
_BATCH_ROWS = 131_072
_COLUMNS_TRIED = 40
_MOST = 4
"""How many further columns are suggested at most: nobody would use a key of more."""


def suggest_key(context: PartitionContext, source: Source, repeated: Hashes) -> str:
    """Return in one sentence what would tell rows apart whose ids are repeated; may be empty.

    ``repeated`` are hashes of such ids, as ``hash_columns`` makes them.  ``source`` is read again,
    with all its columns.
    """
    if not isinstance(source, FileSource):
        return ""
    job = context.job
    names = source.column_names(publishable=True)
    others = [n for n in names if n not in {*job.id_columns, *job.source.derive}]
    others = [name for name in others if why_taken(name, job) is None][:_COLUMNS_TRIED]
    kept = job.output.model_copy(update={"keep": others})
    wider = replace(context.job_file, job=job.model_copy(update={"output": kept}))
    wanted, _ = columns_to_read(wider.job)
    rows = _rows_of(
        replace(context, job_file=wider), source.reading(wanted), repeated[:IDS_LOOKED_AT]
    )
    complete = [name for name in others if not rows.column(name).null_count]
    further = _further_columns(rows.to_pandas(), job.id_columns, complete)
    if further:
        return (
            f"with {' and '.join(further)} in row_id, too, the rows that share an id here would "
            "have ids of their own"
        )
    return (
        f"no {_MOST} other columns tell these rows apart: remove the repeats from the source, or "
        "identify rows by their place, row_id: row_number"
    )


def _further_columns(rows: pd.DataFrame, ids: list[str], candidates: list[str]) -> list[str]:
    """Return a few of ``candidates`` that make ``ids`` unique, as few as are found; else none.

    One or two by trying all; more by taking, again and again, the one that leaves the fewest
    repeats.
    """
    for further in chain(combinations(candidates, 1), combinations(candidates, 2)):
        if not rows.duplicated([*ids, *further]).any():
            return list(further)
    chosen: list[str] = []
    while len(chosen) < min(_MOST, len(candidates)):
        left = {
            name: int(rows.duplicated([*ids, *chosen, name]).sum())
            for name in candidates
            if name not in chosen
        }
        best = min(left, key=lambda name: left[name])
        chosen.append(best)
        if not left[best]:
            return chosen
    return []


def _rows_of(context: PartitionContext, source: Source, repeated: Hashes) -> pa.Table:
    """Return the rows, as far as they are read, whose ids are among ``repeated``."""
    names = [*context.job.id_columns, *context.job.output.keep]
    found, seen = [], 0
    with closing(RowChecker(context.job_file, context.partition, context.so_far)) as checker:
        for batch in source.batches(repeat(_BATCH_ROWS)):
            good = checker.check(source, batch, seen).good
            wanted = np.isin(hash_columns(good, context.job.id_columns), repeated)
            part = good.filter(pa.array(wanted))
            found.append(pa.table({n: decoded(combined_column(part, n)) for n in names}))
            seen += batch.num_rows
            if seen >= ROWS_READ:
                break
    return pa.concat_tables(found)
