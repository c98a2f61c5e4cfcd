"""skops files of kilobytes that would fill the memory, and honest ones that look a little like
them.

Each bomb is loaded in a process of its own, whose peak is the kernel's count of its resident
memory.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import skops.io
from sklearn.neighbors import KNeighborsRegressor

from scoring.errors import ModelError
from scoring.models.base import ModelFile
from scoring.models.skops import load
from tests.scoring.factories import linear

MB = 1 << 20
PEAK_MB = 600  # 200 of them are Python, pandas, scipy, scikit-learn and skops

LOAD = """\
import sys
from pathlib import Path
from scoring.errors import ModelError
from scoring.models.base import ModelFile
from scoring.models.skops import load
path = Path(sys.argv[1])
try:
    load(path.read_bytes(), ModelFile(name="sample", version="v1", uri=str(path), sha256="", format="skops"), [])
    print("loaded")
except ModelError as error:
    print("refused", error)
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) // 1024)
"""

LINEAR = skops.io.dumps(linear())
SCIPY = {
    "__class__": "csr_matrix",
    "__module__": "scipy.sparse._csr",
    "__loader__": "SparseMatrixNode",
    "type": "scipy",
    "file": "bomb",
}
NUMPY = {
    "__class__": "ndarray",
    "__module__": "numpy",
    "__loader__": "NdArrayNode",
    "type": "numpy",
    "file": "bomb",
}


def zeros(
    entry: str, megabytes: int, method: int = zipfile.ZIP_DEFLATED, start: bytes = b""
) -> bytes:
    """An archive with one entry of ``megabytes`` of zeros after ``start``."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", method) as archive,
        archive.open(entry, "w", force_zip64=True) as file,
    ):
        file.write(start)
        for _ in range(megabytes):
            file.write(bytes(MB))
    return made.getvalue()


def npy(megabytes: int) -> bytes:
    """The header of an array of so many megabytes of float64."""
    header = io.BytesIO()
    shape = (megabytes * MB // 8,)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def skops_file(
    attribute: dict[str, Any], method: int = zipfile.ZIP_STORED, **entries: bytes
) -> bytes:
    """A linear model with an attribute more, and with ``entries`` in its archive."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(LINEAR)) as old,
        zipfile.ZipFile(made, "w", method) as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name in entries:
                continue
            if name == "schema.json":
                schema = json.loads(data)
                schema["content"]["content"]["more"] = attribute
                schema["content"]["key_types"]["content"].append(
                    schema["content"]["key_types"]["content"][0]
                )
                data = json.dumps(schema).encode()
            new.writestr(name, data)
        for name, data in entries.items():
            new.writestr(name, data)
    return made.getvalue()


def lying(data: bytes, entry: str, size: int) -> bytes:
    """The archive ``data``, whose directory says that ``entry`` unpacks to ``size`` zeros."""
    found = bytearray(data)
    name = entry.encode()
    at = data.index(b"PK\x01\x02")  # the central directory
    while data[at + 46 : at + 46 + len(name)] != name:
        at = data.index(b"PK\x01\x02", at + 4)
    found[at + 24 : at + 28] = struct.pack("<I", size)
    found[at + 16 : at + 20] = struct.pack("<I", zlib.crc32(bytes(size)))
    return bytes(found)


def matrix(megabytes: int) -> bytes:
    """A .npz as scipy's, whose data are zeros: what scipy would load, if it were let."""
    return zeros("data.npy", megabytes, start=npy(megabytes))


def in_archives(data: bytes, times: int) -> bytes:
    for _ in range(times):
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner", data)
        data = made.getvalue()
    return data


def schema_of(megabytes: int) -> bytes:
    """A schema that is small, compressed, and becomes some 20 times its size as objects."""
    schema = b"[" + b"[]," * (megabytes * MB // 3) + b"0]"
    return skops_file({}, zipfile.ZIP_DEFLATED, **{"schema.json": schema})


def named_again_and_again() -> bytes:
    """One array of 8 MB, stored once, in a list of 200 arrays."""
    array = npy(8) + bytes(8 * MB)
    of_each = [NUMPY | {"__id__": 10_000 + number} for number in range(200)]
    content = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode"}
    return skops_file(
        content | {"content": of_each, "__id__": 9_999}, zipfile.ZIP_DEFLATED, bomb=array
    )


def lying_file(method: int, megabytes: int) -> bytes:
    array = npy(megabytes) + bytes(megabytes * MB)
    with_bomb = skops_file(NUMPY, method, bomb=array)
    return lying(with_bomb, "bomb", 100)


REFUSED_SIZE = "has another size than the archive says"
DEFLATED, BZIP2, LZMA = zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA

BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "array": (lambda: skops_file(NUMPY, DEFLATED, bomb=npy(300) + bytes(300 * MB)), "to 314,"),
    "scipy's matrix": (lambda: skops_file(SCIPY, bomb=matrix(600)), "to 629,"),
    "an archive as an array": (lambda: skops_file(NUMPY, bomb=matrix(300)), "to 314,"),
    "compressed twice": (lambda: skops_file(SCIPY, DEFLATED, bomb=matrix(300)), "to 314,"),
    "bzip2": (lambda: skops_file(SCIPY, bomb=zeros("data.npy", 300, BZIP2)), "to 314,"),
    "in three archives": (lambda: skops_file(SCIPY, bomb=in_archives(matrix(300), 2)), "to 3"),
    "in six archives": (lambda: skops_file(SCIPY, bomb=in_archives(matrix(1), 5)), "more than 4 deep"),
    "deflate that lies": (lambda: lying_file(DEFLATED, 300), REFUSED_SIZE),
    "bzip2 that lies": (lambda: lying_file(BZIP2, 300), REFUSED_SIZE),
    "lzma that lies": (lambda: lying_file(LZMA, 50), REFUSED_SIZE),
    "a matrix that lies": (
        lambda: skops_file(SCIPY, bomb=lying(zeros("data.npy", 300, BZIP2), "data.npy", 100)),
        f"'data.npy' {REFUSED_SIZE}",
    ),
    "a schema of objects": (lambda: schema_of(60), "to 6"),
    "one array many times": (named_again_and_again, "to 1,"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_skops_file_that_would_fill_the_memory_is_not_unpacked(tmp_path: Path, name: str):
    make, message = BOMBS[name]
    path = tmp_path / "v1.skops"
    path.write_bytes(make())
    assert path.stat().st_size < 2 * MB
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *said, peak = done.stdout.splitlines()
    assert said[0].startswith("refused"), said
    assert message in "\n".join(said)
    assert int(peak) < PEAK_MB, f"{peak} MB; {said}"


def loaded(data: bytes, *trusted: str) -> Any:
    file = ModelFile(name="sample", version="v1", uri="v1.skops", sha256="", format="skops")
    return load(data, file, trusted).native


MATRIX = "scipy.sparse._csr.csr_array"
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("method", METHODS)
def test_honest_models_are_loaded_however_they_are_compressed(method: int):
    features = scipy.sparse.random_array((500, 40), density=0.2, format="csr", rng=1)
    model = KNeighborsRegressor(algorithm="brute").fit(features, np.arange(500.0))
    again = loaded(skops.io.dumps(model, compression=method), MATRIX)
    assert again.predict(features).tolist() == model.predict(features).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_a_large_model_that_is_as_large_as_its_file_is_loaded(method: int):
    model = linear()
    model.more_ = np.random.default_rng(1).integers(0, 256, 5 * MB, dtype=np.uint8)
    assert (loaded(skops.io.dumps(model, compression=method)).more_ == model.more_).all()


def test_an_entry_that_is_encrypted_or_cut_off_is_refused():
    data = bytearray(skops_file(NUMPY, zipfile.ZIP_DEFLATED, bomb=npy(1) + bytes(MB)))
    at = data.rindex(b"PK\x01\x02")
    size = int.from_bytes(data[at + 20 : at + 24], "little")
    data[at + 20 : at + 24] = struct.pack("<I", size - 10)
    with pytest.raises(ModelError, match="another size than the archive says"):
        loaded(bytes(data))
