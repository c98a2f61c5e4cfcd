"""What importing and calling a name does, as far as its place says: nothing is imported to find out."""

from __future__ import annotations

import re
from typing import Literal

Verdict = Literal["known", "can run code", "unknown"]

_CAN_RUN_CODE_WORDS = """
_aix_support _osx_support _pickle _posixsubprocess _pyrepl _testcapi _thread _xxsubinterpreters
aiohttp antigravity ast asyncio atexit bdb builtins cProfile cloudpickle cffi cmd code codeop
commands concurrent ctypes dill distutils doctest ensurepip faulthandler fileinput ftplib
functools gc glob http httpx idlelib imaplib imp importlib inspect io joblib lib2to3 linecache
logging mailbox marshal mmap multiprocessing nntplib nt numba operator os paramiko pathlib pdb
pickle pickletools pip pkgutil platform poplib posix posixpath profile pty pydoc readline
requests resource runpy sched select selectors shelve shutil signal site smtplib socket
socketserver sqlite3 ssl subprocess symtable sys sysconfig syslog tarfile telnetlib tempfile
test threading timeit torch trace turtle types typing unittest urllib uuid venv weakref
webbrowser winreg wsgiref xml xmlrpc zipfile zipimport zipapp (computed)
"""
CAN_RUN_CODE = frozenset(_CAN_RUN_CODE_WORDS.split())
"""Modules with functions that run code, programs or requests, change files or this process."""

MODEL_PACKAGES = ("sklearn", "numpy", "scipy", "pandas")

_CLASS = re.compile(r"_?[A-Z]\w*")
"""A class by its name: of the packages of models, one that is made runs no code of the file."""

_KNOWN_WORDS = """
builtins.bool builtins.bytearray builtins.bytes builtins.complex builtins.dict builtins.float
builtins.frozenset builtins.int builtins.list builtins.object builtins.range builtins.set
builtins.slice builtins.str builtins.tuple builtins.Ellipsis builtins.NotImplemented
builtins.reversed builtins.enumerate builtins.zip collections.OrderedDict
collections.defaultdict collections.deque collections.Counter copyreg._reconstructor
copyreg.__newobj__ copyreg.__newobj_ex__ _codecs.encode datetime.date datetime.datetime
datetime.time datetime.timedelta datetime.timezone decimal.Decimal fractions.Fraction uuid.UUID
joblib.numpy_pickle.NumpyArrayWrapper numpy.ndarray numpy.dtype numpy.bool numpy.bool_
numpy.generic numpy.matrix numpy.recarray numpy.float16 numpy.float32 numpy.float64
numpy.longdouble numpy.int8 numpy.int16 numpy.int32 numpy.int64 numpy.intc numpy.intp
numpy.uint8 numpy.uint16 numpy.uint32 numpy.uint64 numpy.str_ numpy.bytes_ numpy.object_
numpy.complex64 numpy.complex128 numpy.datetime64 numpy.timedelta64
numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct
numpy.core.multiarray.scalar numpy._core.multiarray.scalar numpy.core.numeric._frombuffer
numpy._core.numeric._frombuffer numpy.ma.core._mareconstruct numpy.ma.core.MaskedArray
numpy.random._pickle.__randomstate_ctor numpy.random._pickle.__generator_ctor
numpy.random._pickle.__bit_generator_ctor numpy.random._mt19937.MT19937
numpy.random._pcg64.PCG64 pandas._libs.arrays.__pyx_unpickle_NDArrayBacked
pandas._libs.internals._unpickle_block pandas.core.indexes.base._new_Index
scipy.sparse._csr.csr_matrix scipy.sparse._csr.csr_array scipy.sparse.csr.csr_matrix
scipy.sparse._csc.csc_matrix scipy.sparse._csc.csc_array scipy.sparse.csc.csc_matrix
scipy.sparse._coo.coo_matrix scipy.sparse._coo.coo_array scipy.sparse._lil.lil_matrix
sklearn._loss._loss.CyHalfSquaredError sklearn.tree._tree.Tree
sklearn.metrics._dist_metrics.newObj sklearn.neighbors._kd_tree.newObj
sklearn.neighbors._ball_tree.newObj
"""
KNOWN = frozenset(_KNOWN_WORDS.split())
"""Names that are not of classes by their form, and those of other packages, that models consist of."""

_RUNS = re.compile(
    r"(?i)eval|exec|system|popen|spawn|pickle|runstring|import|open|^loads?$|fromfile"
)
"""Functions by such a name run code or open files in any package."""

_HARMFUL = re.compile(
    r"(?i)memmap|NpzFile|DataSource|Pool|Process|Thread|Subprocess|Command|Runner|Memory|Compiler"
)
"""Classes of these packages that open files or start something."""


def verdict(module: str, name: str) -> Verdict:
    """Return what is known of ``module.name``.

    ``known`` are types that a model of scikit-learn, NumPy, SciPy or pandas consists of. It is a
    judgement by name, and says nothing of what a scorer or a model does with it.
    """
    if f"{module}.{name}" in KNOWN:
        return "known"
    package = module.partition(".")[0]
    if package in CAN_RUN_CODE or _RUNS.search(name):
        return "can run code"
    if package in MODEL_PACKAGES and _CLASS.fullmatch(name) and not _HARMFUL.search(name):
        hidden = {"testing", "tests", "f2py", "distutils", "externals", "weave", "io", "datasets"}
        return "unknown" if hidden & {*module.split(".")} else "known"
    return "unknown"
