"""Which kind of model file some bytes are, whatever the file is called."""

from __future__ import annotations

import io
import re
import zipfile

from scoring.models.protobuf import is_onnx

NAMES = {
    "joblib": "a pickle or joblib file",
    "skops": "a skops file",
    "onnx": "an ONNX model",
    "lightgbm": "a LightGBM model",
    "xgboost": "an XGBoost model",
    "catboost": "a CatBoost model",
}
"""What messages call a file of each kind."""

EXTENSIONS = {"cbm": "catboost", "ubj": "xgboost"}
"""Extensions that mean a kind of another name."""

_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # the opcode PROTO and a protocol since 2003
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"]\x00\x00", b"\x04\x22\x4d\x18")
"""gzip, bzip2, xz, lzma and lz4, in which joblib packs its pickles."""
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_LIGHTGBM = re.compile(rb"tree\r?\n")
_UBJSON = re.compile(rb"\{L.{8}learner", re.DOTALL)
_XGBOOST_BINARY = b"binf"

# A release ends where its text does: in pickles of protocol 2 and 3, the letter q or r follows.
_SAVED_WITH = re.compile(
    rb"_sklearn_version.{1,10}?"
    rb"(\d+\.\d+(?:\.\d+)*(?:(?:a|b|rc)\d+)?(?:\.post\d+)?(?:\.dev\d+)?)",
    re.DOTALL,
)


def kind_of(data: bytes) -> str | None:
    """Return the kind of model that ``data`` is by its first bytes, or by its structure: one of
    ``NAMES``, where ``joblib`` is any pickle; None for others.

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
    if _LIGHTGBM.match(data):
        return "lightgbm"
    if data.startswith(b"CBM1"):
        return "catboost"
    if _UBJSON.match(data) or data.startswith(_XGBOOST_BINARY):
        return "xgboost"
    if data.lstrip()[:1] == b"{":
        return _kind_of_json(data)
    return "onnx" if is_onnx(data) else None


def _kind_of_json(data: bytes) -> str | None:
    if b'"learner"' in data and b'"gradient_booster"' in data:
        return "xgboost"
    return "catboost" if b'"oblivious_trees"' in data or b'"model_info"' in data else None


def kind_of_name(uri: str) -> str:
    """Return the extension of ``uri``, or the kind that it stands for."""
    suffix = uri.rpartition("/")[2].rpartition(".")[2]
    return EXTENSIONS.get(suffix, suffix)


def saved_with(data: bytes) -> str | None:
    """Return the scikit-learn that a pickle says it was saved with, without loading it."""
    found = _SAVED_WITH.search(data)
    return found[1].decode() if found else None
