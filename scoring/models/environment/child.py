"""The process that predicts in a model's own environment: a program by itself, for Python 3.8 on.

It imports nothing of ours, because its interpreter and packages are those of the model.  The parent
starts it as ``python -I -u child.py PARENT_PID THREAD_OF_PARENT_IS_MAIN`` with pipes as stdin and
stdout, which become private at once: what a model prints goes to stderr.

A message is the lengths of a JSON header and of a payload, and both.  Every request has one reply.

- ``load``: the model, files and scorer, one after the other as the payload.  Reply: what the parent
  has to know about them.
- ``predict``, ``predict_proba``, ``run``: an Arrow stream of the rows.  Reply: an Arrow stream with a
  row for each row, and a header that says what it was before: an array, a Series, a DataFrame.

A reply with ``error`` has type, message and traceback of what was raised, as text.
"""

from __future__ import annotations

import ctypes
import inspect
import io
import json
import linecache
import os
import platform
import re
import signal
import struct
import sys
import sysconfig
import threading
import time
import traceback
import types
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Dict, List, Optional, Tuple

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

LENGTHS = struct.Struct(">IQ")  # of the header and of the payload
Facts = Dict[str, Any]
"""A JSON object."""

PR_SET_PDEATHSIG = 1
SAVED_BY = re.compile(r"from version (\S+) when using version")


def main() -> None:
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    end_with_parent(int(sys.argv[1]), sys.argv[2] == "True")
    loaded: Facts = {}
    while True:
        request = receive(requests)
        if request is None:
            return
        try:
            reply, payload = answer(loaded, *request)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the parent raises it
            reply, payload = {"error": described(error)}, b""
        send(replies, reply, payload)


def end_with_parent(parent: int, by_signal: bool) -> None:
    """End this process when ``parent`` has ended, however it does.

    The signal comes when the parent's thread ends that started this process, so it is for the main
    thread only.
    """
    if by_signal and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def receive(file: BinaryIO) -> Optional[Tuple[Facts, bytes]]:
    """Return header and payload of the next message; None at the end of the pipe."""
    lengths = file.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    header, payload = LENGTHS.unpack(lengths)
    return json.loads(file.read(header).decode()), file.read(payload)


def send(file: BinaryIO, header: Facts, payload: Any = b"") -> None:
    text = json.dumps(header).encode()
    file.write(LENGTHS.pack(len(text), len(payload)) + text)
    file.write(payload)
    file.flush()


class Failed(Exception):
    """``stage`` is what failed: ``model``, ``file NAME``, ``scorer``, ``signature`` or ``result``."""

    def __init__(self, stage: str, message: str = "") -> None:
        Exception.__init__(self, message)
        self.stage = stage


def described(error: BaseException) -> Facts:
    stage = getattr(error, "stage", "")
    cause = error.__cause__ if isinstance(error, Failed) and error.__cause__ else error
    frames = traceback.extract_tb(cause.__traceback__)
    installed = [sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")]
    installed += [os.path.realpath(path) for path in installed]
    others = (*installed, str(Path(__file__).absolute()), "<")
    own = [frame for frame in frames if not frame.filename.startswith(others)]
    return {
        "stage": stage,
        "type": type(cause).__name__,
        "message": str(cause),
        "traceback": "".join(traceback.format_exception(type(cause), cause, cause.__traceback__)),
        "frames": "".join(traceback.format_list(own[-3:])),
        "missing": isinstance(cause, (ImportError, AttributeError)),
        "no_memory": isinstance(cause, MemoryError),
    }


def answer(loaded: Facts, header: Facts, payload: bytes) -> Tuple[Facts, Any]:
    if header["op"] == "load":
        loaded.clear()
        loaded.update(load(header, payload))
        return loaded.pop("facts"), b""
    frame = frame_of(payload, header["objects"])
    if header["op"] == "run":
        result = loaded["run"](frame)
    else:
        result = getattr(loaded["model"], header["op"])(FORMS[header["form"]](frame))
    return encoded(result, len(frame))


FORMS: Dict[str, Callable[[pd.DataFrame], Any]] = {
    "frame": lambda frame: frame,
    "records": lambda frame: frame.to_dict(orient="records"),
    "array": lambda frame: frame.to_numpy(),
}


# --- loading -----------------------------------------------------------------------------------


def load(header: Facts, payload: bytes) -> Facts:
    for folder in header["folders"]:  # last: nothing there takes an installed module's place
        if folder not in sys.path:
            sys.path.append(folder)
    import pandas  # noqa: F401 - now, so that the first rows do not wait for it
    import pyarrow  # noqa: F401

    parts, at = [], 0
    for size in header["sizes"]:
        parts.append(payload[at : at + size])
        at += size
    data, kind = parts.pop(0), header["format"]
    saved_by = []  # type: List[str]
    if kind == "mlflow":
        model = by_mlflow(header["path"])
    else:
        model, saved_by = loaded_model(data, kind, header["trusted_types"])
    files = {}
    for name, kind in header["files"]:
        try:
            files[name] = artifact(parts.pop(0), kind, header["trusted_types"])
        except Exception as error:
            raise Failed("file " + name) from error
    run = None
    if header["scorer"]:
        named = [(name, parts.pop(0)) for name in header["scorer_parts"]]
        run = scorer(named, header["scorer"], model, files)
    else:  # as scoring.models.sklearn does it
        warnings.filterwarnings("ignore", "X has feature names, but", UserWarning)
    return {"model": model, "run": run, "facts": facts(model, saved_by)}


def loaded_model(data: bytes, kind: str, trusted_types: List[str]) -> Tuple[Any, List[str]]:
    """Return the model and the releases of scikit-learn that saved it or a part of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = unpickled(data) if kind == "joblib" else from_skops(data, trusted_types)
        except Failed:
            raise
        except Exception as error:
            raise Failed("model") from error
    found = (SAVED_BY.search(str(warning.message)) for warning in caught)
    return model, sorted({match.group(1) for match in found if match})


def by_mlflow(folder: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import, which reads it
    try:
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(folder, suppress_warnings=True)
    except Exception as error:
        raise Failed("model") from error


def unpickled(data: bytes) -> Any:
    try:
        import joblib
    except ImportError:
        import pickle

        return pickle.loads(data)
    return joblib.load(io.BytesIO(data))


def from_skops(data: bytes, trusted_types: List[str]) -> Any:
    import skops.io

    unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(trusted_types))
    if unknown:
        raise Failed("untrusted", ", ".join(unknown))
    return skops.io.loads(data, trusted=list(trusted_types))


def artifact(data: bytes, kind: str, trusted_types: List[str]) -> Any:
    import pandas as pd

    if kind == "csv":
        return pd.read_csv(io.BytesIO(data))
    if kind == "parquet":
        return pd.read_parquet(io.BytesIO(data))
    if kind == "json":
        return json.loads(data)
    return data if kind == "bytes" else loaded_model(data, kind, trusted_types)[0]


def scorer(
    parts: List[Tuple[str, bytes]], path: str, model: Any, files: Dict[str, Any]
) -> Callable[[pd.DataFrame], Any]:
    """Return ``run`` of a scorer, which is given a frame; as ``scoring.models.user_scorer`` does."""
    module = types.ModuleType("scoring_job_" + Path(path).stem)
    module.__file__ = path
    sys.modules[module.__name__] = module
    try:
        for name, code in parts:
            if name != path:  # a cell of a notebook, whose file has other lines
                lines = code.decode().splitlines(True)
                linecache.cache[name] = (len(code), None, lines, name)
            exec(compile(code, name, "exec", dont_inherit=True), vars(module))
    except Exception as error:
        raise Failed("scorer") from error
    run = getattr(module, "run", None)
    parameters = list(inspect.signature(run).parameters) if callable(run) else []
    others = [name for name in parameters[1:] if name not in files]
    if not callable(run) or not parameters or len(others) > 1:
        raise Failed("signature")
    arguments = [files.get(name, model) for name in parameters[1:]]
    return lambda frame: run(frame, *arguments)


def facts(model: Any, saved_by: List[str]) -> Facts:
    names = getattr(model, "feature_names_in_", None)
    classes, dtype = None, None
    has_proba = hasattr(model, "predict_proba")
    if has_proba or hasattr(model, "classes_"):
        classes = getattr(model, "classes_", None)
    outputs = len(classes) if isinstance(classes, list) else 1
    if outputs == 1 and classes is not None and getattr(classes, "ndim", 1) == 1:
        dtype = classes.dtype.str if hasattr(classes, "dtype") else None
        classes = [c.item() if hasattr(c, "item") else c for c in classes]
    else:
        classes = None
    parts = list(model.values()) if isinstance(model, dict) else model
    sklearn = sys.modules.get("sklearn")
    return {
        "inputs": None if names is None else [str(name) for name in names],
        "classes": classes,
        "classes_dtype": dtype,
        "outputs": outputs,
        "type": type(model).__name__,
        "parts": [type(p).__name__ for p in parts] if isinstance(parts, (list, tuple)) else [],
        "has_predict": callable(getattr(model, "predict", None)),
        "has_predict_proba": has_proba,
        "saved_by": saved_by,
        "sklearn": sklearn.__version__ if sklearn else None,
        "python": platform.python_version(),
    }


# --- rows --------------------------------------------------------------------------------------


def frame_of(payload: bytes, objects: List[str]) -> pd.DataFrame:
    """Return the rows as a DataFrame; columns in ``objects`` hold Python objects, NaN for null."""
    import pandas as pd
    import pyarrow as pa

    table = pa.ipc.open_stream(pa.py_buffer(payload)).read_all()
    columns = {}
    for name in table.column_names:
        values = table.column(name).combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([])
        if name in objects:  # said to be objects: newer pandas would make its own text of them
            columns[name] = pd.Series(of_objects(values), dtype=object)
        else:
            columns[name] = values.to_pandas()
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))


def of_objects(values: pa.Array) -> np.ndarray[Any, Any]:
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    distinct = np.array([*values.dictionary.to_pylist(), np.nan], dtype=object)
    numbers = values.indices.cast(pa.int64())
    found: np.ndarray[Any, Any] = distinct[np.asarray(numbers.fill_null(len(values.dictionary)))]
    return found


def encoded(result: Any, rows: int) -> Tuple[Facts, Any]:
    """Return what a model or scorer returned: a header and an Arrow stream."""
    import numpy as np
    import pandas as pd

    header: Facts = {"type": type(result).__name__}
    if isinstance(result, pd.DataFrame):
        named = not isinstance(result.columns, pd.RangeIndex)
        header["names"] = [str(name) for name in result.columns] if named else None
        of_frame = [result.iloc[:, at] for at in range(result.shape[1])]
        return of_pandas(dict(header, kind="frame", rows=len(result)), of_frame, result.index)
    if isinstance(result, pd.Series):
        return of_pandas(dict(header, kind="series", rows=len(result)), [result], result.index)
    if isinstance(result, (str, bytes, dict)) or not hasattr(result, "__len__"):
        return dict(header, kind="other"), b""
    if hasattr(result, "toarray"):  # a sparse matrix
        result = result.toarray()
    if isinstance(result, np.ma.MaskedArray):
        masked: Any = result
        result = masked.astype(float).filled(np.nan)
    try:
        array = np.asarray(result)
    except ValueError as error:
        raise Failed("result", "values of different lengths") from error
    header = dict(header, kind="array", shape=list(array.shape))
    if array.ndim not in (1, 2) or array.shape[0] != rows:
        return header, b""  # which the parent refuses
    columns: List[Any] = (
        [array] if array.ndim == 1 else [array[:, at] for at in range(array.shape[1])]
    )
    return header, stream(columns)


def of_pandas(header: Facts, columns: List[Any], index: pd.Index) -> Tuple[Facts, Any]:
    """``index`` is a last column, unless it is 0 to n-1 as in the rows that were given."""
    import pandas as pd

    header["same_index"] = index.equals(pd.RangeIndex(len(index)))
    if not header["same_index"]:
        try:
            return header, stream([*columns, pd.Series(index)])
        except Failed:
            return header, stream([*columns, pd.Series([str(label) for label in index])])
    return header, stream(columns)


def stream(columns: List[Any]) -> Any:
    import pyarrow as pa

    arrays = []
    for at, column in enumerate(columns):
        try:
            arrays.append(arrow(column))
        except (pa.ArrowException, ValueError, TypeError) as error:
            name = getattr(column, "name", None)
            which = repr(str(name)) if name is not None else str(at + 1)
            message = f"the output column {which} cannot be stored: {error}"
            raise Failed("result", message) from None
    table = pa.Table.from_arrays(arrays, names=[str(at) for at in range(len(arrays))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def arrow(column: Any) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    if not isinstance(column, np.ndarray):
        return pa.array(column, from_pandas=True)
    if column.dtype.kind in "biuf":
        return pa.array(np.ascontiguousarray(column))
    return pa.array(
        column.astype(object) if column.dtype.kind in "OUS" else column, from_pandas=True
    )


if __name__ == "__main__":
    main()
