"""How far what is read may unpack: a small file must not fill the memory.

A bomb is a file of kilobytes that unpacks to gigabytes at once. What is read piece by piece needs
no limit. What is unpacked as a whole (a model, a column of a parquet row group) is refused where it
is large by itself and many times larger than the file says on the disk.
"""

from __future__ import annotations

MOST_TIMES = 20
LARGE_BYTES = 256 << 20


def most_unpacked_bytes(packed_bytes: int) -> int:
    """Return how much may become of ``packed_bytes`` in memory."""
    return max(LARGE_BYTES, MOST_TIMES * packed_bytes)


def unpacks_too_far(packed_bytes: int, unpacked_bytes: int) -> bool:
    """Return whether to refuse what takes ``packed_bytes`` now and ``unpacked_bytes`` in memory."""
    return unpacked_bytes > most_unpacked_bytes(packed_bytes)
