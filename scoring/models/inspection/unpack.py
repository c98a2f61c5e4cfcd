"""Unpacks what joblib has compressed, up to a size."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

from scoring.errors import ModelError
from scoring.storage.decompression import most_unpacked_bytes


class _Zlib:
    """Like the decompressors of ``bz2`` and ``lzma``, for zlib's streams."""

    def __init__(self, bits: int) -> None:
        self._stream = zlib.decompressobj(bits)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(data, max_length)


def _lz4() -> Any:
    try:
        return import_module("lz4.frame").LZ4FrameDecompressor()
    except ImportError:
        raise ValueError("the package lz4 is missing (pip install lz4)") from None


COMPRESSIONS: dict[bytes, tuple[str, Callable[[], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda: _Zlib(31)),
    b"BZh": ("bz2", bz2.BZ2Decompressor),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMADecompressor),
    b"]\x00\x00": ("lzma", lzma.LZMADecompressor),
    b"\x04\x22\x4d\x18": ("lz4", _lz4),
    b"\x78\x01": ("zlib", lambda: _Zlib(15)),
    b"\x78\x5e": ("zlib", lambda: _Zlib(15)),
    b"\x78\x9c": ("zlib", lambda: _Zlib(15)),
    b"\x78\xda": ("zlib", lambda: _Zlib(15)),
}
"""How a file begins, the name of its compression, what unpacks it."""


def unpacked(data: bytes, uri: str) -> tuple[bytes, str | None]:
    """Return what is in ``data``, and the name of its compression; None for one that is plain.

    Raises ModelError for more than ``most_unpacked_bytes`` of it, and where it is damaged.
    """
    for beginning, (name, new) in COMPRESSIONS.items():
        if data.startswith(beginning):
            try:
                return _joined(data, beginning, new), name
            except (
                ValueError,
                EOFError,
                OSError,
                RuntimeError,
                zlib.error,
                lzma.LZMAError,
            ) as error:
                raise ModelError(
                    f"{uri} is compressed by {name} and cannot be unpacked: {error}"
                ) from error
    return data, None


def _joined(data: bytes, beginning: bytes, new: Callable[[], Any]) -> bytes:
    """Return the contents of all streams in ``data``, one after the other, as joblib reads them."""
    most, parts, size = most_unpacked_bytes(len(data)), [], 0
    while data.startswith(beginning):
        stream = new()
        part = stream.decompress(data, most - size + 1)
        size += len(part)
        if size > most:
            raise ValueError(f"{size:,} bytes or more would become of it, which is too many")
        if not stream.eof:
            raise ValueError("it is cut off")
        parts.append(part)
        data = stream.unused_data or b""
    if data.strip(b"\\0"):
        raise ValueError(f"{len(data):,} bytes of something else follow")
    return b"".join(parts)
