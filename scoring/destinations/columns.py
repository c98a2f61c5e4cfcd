"""The column types of a destination of files, kept beside its manifests as an empty Arrow stream.

They grow by the columns that later partitions add, and never change while there is another
partition.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.arrow.published import published_type
from scoring.destinations.layout import Layout
from scoring.destinations.manifest import Manifest
from scoring.errors import PublicationError, ReplacedMeanwhileError
from scoring.storage.base import Storage, Unchanged, pending


def read_columns(layout: Layout, storage: Storage, published: Manifest) -> pa.Schema:
    """Return the columns published so far.

    Of a destination that was published to before column types were kept, the file of ``published``,
    any of its partitions, says them.
    """
    data = storage.read(layout.columns)
    if data is not None:
        return pa.ipc.open_stream(data).schema
    with storage.open(published.output.uri) as file:
        return pq.read_schema(file).remove_metadata()


def add_columns(layout: Layout, storage: Storage, written: pa.Schema, alone: bool) -> None:
    """Keep the types of ``written`` too; PublicationError where another process kept other ones.

    ``alone``: no other partition is published, so that ``written`` replaces what was kept.
    """
    found = pa.schema({f.name: published_type(f.type) for f in written})
    while True:
        version = storage.version(layout.columns)
        data = storage.read(layout.columns) if version is not None else None
        kept = pa.ipc.open_stream(data).schema if data is not None and not alone else pa.schema({})
        merged = pa.schema({f.name: f.type for f in [*found, *kept]})
        clash = [
            f.name for f in found if f.name in kept.names and kept.field(f.name).type != f.type
        ]
        if clash:
            raise PublicationError(
                f"{layout.uri}: another partition was published at the same time with other types "
                f"of {', '.join(map(repr, clash))}. Run this one again"
            )
        if data is not None and merged.equals(pa.ipc.open_stream(data).schema):
            return
        try:
            with pending(storage, layout.columns, Unchanged(version)) as new:
                with pa.ipc.new_stream(new, merged):
                    pass
                new.commit()
            return
        except ReplacedMeanwhileError:
            continue
