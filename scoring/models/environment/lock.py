"""From requirements to a lock: every package with its release and digests, resolved once."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from scoring.errors import ModelError
from scoring.models.environment.interpreters import Interpreter
from scoring.models.environment.uv import UvError, run_uv
from scoring.storage.local import LocalStorage, exclusive

NEEDED = ("pandas", "pyarrow")
"""What a child needs to read its rows; added where the requirements do not name it."""

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^ ;\\]+)", re.MULTILINE)
_OTHER_FILE = re.compile(r"\s*(-r|-c|-e|--requirement|--constraint|--editable)\b")

OLD_PACKAGES: tuple[tuple[str, tuple[int, ...], str], ...] = (
    ("scikit-learn", (1, 2), "numpy<1.24"),  # uses np.int and others that numpy 1.24 removed
    ("scikit-learn", (1, 4, 2), "numpy<2"),
    ("scikit-learn", (1, 6), "pandas<3"),  # whose text and dates have other types
    ("pandas", (2, 2, 2), "numpy<2"),
    ("scipy", (1, 13), "numpy<2"),
    ("numpy", (2,), "pyarrow<26"),
)
"""Releases before (…) need an older release of another package, and do not say so themselves: they
were compiled with it, or refuse the newer one when they are imported."""


def locked(requirements: str, interpreter: Interpreter, cache: Path) -> str:
    """Return the lock of ``requirements``: resolved now, or the time before on this machine.

    What was resolved is kept, so that a later task gets the same packages without asking an index.
    Raises ModelError where the requirements cannot be resolved.
    """
    _check(requirements)
    of = [requirements, interpreter.python, interpreter.implementation, interpreter.platform]
    key = hashlib.sha256(json.dumps([of, OLD_PACKAGES]).encode()).hexdigest()[:32]
    kept = cache / "locks" / f"{key}.txt"
    if (data := LocalStorage().read(str(kept))) is not None:
        return data.decode()
    with exclusive(f"{kept}.lock", f"the lock {kept}", wait=True):
        if (data := LocalStorage().read(str(kept))) is not None:
            return data.decode()
        lock = _resolved(requirements, interpreter)
        pending = LocalStorage().create(str(kept))
        pending.write(lock.encode())
        pending.commit()
    return lock


def packages(lock: str) -> dict[str, str]:
    """Return the packages of a lock and their releases."""
    return {name.lower(): version for name, version in _PIN.findall(lock)}


def names_in(requirements: str) -> set[str]:
    lines = (line for line in requirements.splitlines() if not line.lstrip().startswith(("#", "-")))
    found = (match[1] for line in lines if (match := _NAME.match(line)))
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


def _check(requirements: str) -> None:
    for line in requirements.splitlines():
        if _OTHER_FILE.match(line):
            raise ModelError(
                f"environment.requirements has the line {line.strip()!r}, and other files are not "
                "read: they would not be part of its digest. Write their lines in its place"
            )


def _resolved(requirements: str, interpreter: Interpreter) -> str:
    named = names_in(requirements)
    text = "\n".join([requirements, *(name for name in NEEDED if name not in named)]) + "\n"
    constraints: set[str] = set()
    while True:
        lock = _compile(text, sorted(constraints), interpreter)
        found = {c for c in _for_old(packages(lock)) if c.partition("<")[0] not in named}
        if found <= constraints:
            return lock
        constraints |= found


def _for_old(found: dict[str, str]) -> Iterator[str]:
    for name, before, constraint in OLD_PACKAGES:
        if name in found and _numbers(found[name]) < before:
            yield constraint


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def _compile(text: str, constraints: Iterable[str], interpreter: Interpreter) -> str:
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "requirements.txt")
        given.write_text(text, encoding="utf-8")
        limits = Path(folder, "constraints.txt")
        limits.write_text("\n".join(constraints), encoding="utf-8")
        # Wheels only: a source distribution would run its code here, and want a compiler.
        arguments = ["pip", "compile", str(given), "--constraint", str(limits)]
        arguments += ["--only-binary", ":all:", "--python", str(interpreter.path)]
        arguments += ["--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
        doing = f"resolving environment.requirements for Python {interpreter.python}"
        try:
            return run_uv(arguments, Path(folder), doing)
        except UvError as error:
            if "no usable wheels" not in str(error):
                raise
            # uv does not say that it is the Python that has none.
            python = ".".join(map(str, interpreter.version[:2]))
            raise UvError(
                f"{error} Usable are wheels for Python {python} on {interpreter.platform}: another "
                "environment.python, or another release, may have some"
            ) from error
