"""How many bytes a zip archive unpacks to, counted in little memory, with the archives inside it.

An archive's own figures are only a claim. Here each entry is unpacked piece by piece and thrown
away, so that unpacking it afterwards gives what the archive says and no more.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from typing import Protocol

DEEPEST = 4
"""How deep archives may lie in each other: numpy and scipy unpack the second level."""

PIECE_BYTES = 1 << 16
_MAGIC = b"PK"  # numpy takes for an archive what begins so, whatever its name is
_LOCAL_HEADER_BYTES = 30


def unpacked_sizes(data: bytes | memoryview, most: int, depth: int = 1) -> dict[str, int]:
    """Return the bytes that each entry of the archive ``data`` unpacks to, with the archives inside
    it.

    Stops as soon as they are more than ``most`` together. Raises ValueError for an entry of another
    size than the archive says, for archives nested too deep, and for an unknown compression.
    """
    if depth > DEEPEST:
        raise ValueError(f"archives are nested more than {DEEPEST} deep")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    sizes: dict[str, int] = {}
    for entry in entries:  # a name may come twice
        sizes[entry.filename] = sizes.get(entry.filename, 0) + entry.file_size
    total = sum(sizes.values())
    for entry in entries:
        if total > most:
            break
        nested = _nested_archive(memoryview(data), entry)
        if nested is not None:
            inside = sum(unpacked_sizes(nested, most - total, depth + 1).values())
            sizes[entry.filename] += inside
            total += inside
    return sizes


def _nested_archive(data: memoryview, entry: zipfile.ZipInfo) -> bytes | None:
    """Return the bytes of ``entry`` where it is an archive itself; ValueError where it lies about
    its size.
    """
    packed = _packed(data, entry)
    if entry.compress_type == zipfile.ZIP_STORED:
        size, start = len(packed), bytes(packed[: len(_MAGIC)])
    else:
        size, start = 0, b""
        for piece in _unpacked(packed, entry):
            size += len(piece)
            start = start or piece[: len(_MAGIC)]
            if size > entry.file_size:
                break
    if size != entry.file_size:
        raise ValueError(f"{entry.filename!r} has another size than the archive says")
    if start != _MAGIC:
        return None
    if entry.compress_type == zipfile.ZIP_STORED:
        return bytes(packed)
    return b"".join(_unpacked(packed, entry))


def _packed(data: memoryview, entry: zipfile.ZipInfo) -> memoryview:
    """Return the compressed bytes of ``entry``, where ``zipfile`` finds them."""
    at = entry.header_offset
    lengths = data[at + 26 : at + _LOCAL_HEADER_BYTES]  # of its name and of its extra field
    begin = (
        at + _LOCAL_HEADER_BYTES + sum(int.from_bytes(lengths[i : i + 2], "little") for i in (0, 2))
    )
    return data[begin : begin + entry.compress_size]


class _Decompressor(Protocol):
    """What ``bz2`` and ``lzma`` have."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflate:
    """``zlib`` with the methods of a ``_Decompressor``."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        rest = self._zlib.unconsumed_tail + data
        piece = self._zlib.decompress(rest, max_length)
        self.needs_input = not piece and not self._zlib.unconsumed_tail
        return piece


def _unpacked(packed: memoryview, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield what ``packed`` unpacks to, never more than ``PIECE_BYTES`` at once."""
    decompressor, begin = _decompressor(packed, entry)
    for at in range(begin, len(packed), PIECE_BYTES):
        data = bytes(packed[at : at + PIECE_BYTES])
        while True:
            piece = decompressor.decompress(data, PIECE_BYTES)
            if piece:
                yield piece
            if decompressor.eof:
                return
            if decompressor.needs_input:
                break
            data = b""


def _decompressor(packed: memoryview, entry: zipfile.ZipInfo) -> tuple[_Decompressor, int]:
    """Return a decompressor for ``entry``, and where in ``packed`` its stream begins."""
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        return _Inflate(), 0
    if entry.compress_type == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor(), 0
    if entry.compress_type == zipfile.ZIP_LZMA:
        return _lzma(packed)
    raise ValueError(f"{entry.filename!r} is compressed in a way that is not known here")


def _lzma(packed: memoryview) -> tuple[_Decompressor, int]:
    """Return the decompressor of LZMA in a zip archive: version (2 bytes), length of the
    properties, these five.
    """
    if len(packed) < 9 or int.from_bytes(packed[2:4], "little") != 5:
        raise ValueError("an LZMA entry without its properties")
    numbers, dictionary_bytes = packed[4], int.from_bytes(packed[5:9], "little")
    if dictionary_bytes > _LARGEST_DICTIONARY_BYTES:  # it is allocated before anything is unpacked
        raise ValueError(f"an LZMA entry that needs a dictionary of {dictionary_bytes:,} bytes")
    properties = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": dictionary_bytes,
        "lc": numbers % 9,
        "lp": numbers // 9 % 5,
        "pb": numbers // 45,
    }
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[properties]), 9


_LARGEST_DICTIONARY_BYTES = 64 << 20  # that of the highest preset, xz -9
