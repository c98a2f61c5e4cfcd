"""Whether an Arrow stream has compressed buffers, which its reader would decompress whatever their size.

Arrow says so in the header of each batch, a FlatBuffers table, and pyarrow does not show it:
https://github.com/apache/arrow/blob/main/format/Message.fbs, https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import struct

import pyarrow as pa

_HEADER_TYPE, _HEADER = 1, 2
"""Fields of a Message."""
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
"""Types of its header."""
_DATA_OF_DICTIONARY, _COMPRESSION = 1, 3
"""Fields of a DictionaryBatch, and of a RecordBatch."""


def is_compressed(stream: bytes) -> bool:
    """Return whether a batch of the IPC ``stream`` has compressed buffers.

    Raises ArrowException for what is not a stream, and ValueError for a header that is none.
    """
    reader = pa.ipc.MessageReader.open_stream(stream)
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return False
        try:
            if _has_compression(message.metadata.to_pybytes()):
                return True
        except (struct.error, IndexError) as error:
            raise ValueError(f"a header that cannot be read: {error}") from None


def _has_compression(header: bytes) -> bool:
    message = _offset(header, 0)
    kind_at = _field(header, message, _HEADER_TYPE)
    batch_at = _field(header, message, _HEADER)
    if not kind_at or not batch_at:
        return False
    kind, batch = header[kind_at], _offset(header, batch_at)
    if kind == _DICTIONARY_BATCH:
        batch = _offset(header, _field(header, batch, _DATA_OF_DICTIONARY))
    elif kind != _RECORD_BATCH:
        return False
    return _field(header, batch, _COMPRESSION) != 0


def _field(header: bytes, table: int, number: int) -> int:
    """Return where a field of a table is; 0 where it is not set."""
    vtable = table - struct.unpack_from("<i", header, table)[0]
    (size,) = struct.unpack_from("<H", header, vtable)
    at = 4 + 2 * number
    if at >= size:
        return 0
    (offset,) = struct.unpack_from("<H", header, vtable + at)
    return table + offset if offset else 0


def _offset(header: bytes, at: int) -> int:
    """Return where the table is that the offset at ``at`` points to."""
    return at + int(struct.unpack_from("<I", header, at)[0])
