"""Which kind of model file some bytes are, whatever the file is called."""

from __future__ import annotations

import io
import re
import zipfile

_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # the opcode PROTO and a protocol since 2003
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"]\x00\x00", b"\x04\x22\x4d\x18")
"""gzip, bzip2, xz, lzma and lz4, in which joblib packs its pickles."""
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")

# A release ends where its text does: in pickles of protocol 2 and 3, the letter q or r follows.
_SAVED_WITH = re.compile(
    rb"_sklearn_version.{1,10}?"
    rb"(\d+\.\d+(?:\.\d+)*(?:(?:a|b|rc)\d+)?(?:\.post\d+)?(?:\.dev\d+)?)",
    re.DOTALL,
)


def kind_of(data: bytes) -> str | None:
    """Return ``skops`` or ``joblib`` (any pickle) by the first bytes of ``data``; None for others.

    Nothing is executed.
    """
    if _PICKLE.match(data) or data.startswith((*_COMPRESSED, *_ZLIB)):
        return "joblib"
    if data.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return "skops" if "schema.json" in archive.namelist() else None
        except zipfile.BadZipFile:
            return "skops"  # a damaged one: its loader says what is wrong
    return None


def saved_with(data: bytes) -> str | None:
    """Return the scikit-learn that a pickle says it was saved with, without loading it."""
    found = _SAVED_WITH.search(data)
    return found[1].decode() if found else None
