"""The Pythons of this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scoring.errors import ModelError

_QUERY = """
import json, os, platform, sys
path = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps([os.path.realpath(path), platform.python_version(),
                  platform.python_implementation(), sys.platform + "-" + platform.machine()]))
"""
_NAME = re.compile(r"(?:python|pypy)3\.(\d+)$")


@dataclass(frozen=True, order=True)
class Interpreter:
    """``path`` is the real one, no shim and none of a virtual environment."""

    version: tuple[int, ...]
    path: Path
    implementation: str
    platform: str

    @property
    def python(self) -> str:
        """The exact version as text, such as ``3.9.18``."""
        return ".".join(map(str, self.version))


def find_interpreter(python: str) -> Interpreter:
    """Return the newest CPython ``python``, such as ``3.9``; ModelError names those that are there.

    Nothing is downloaded: an interpreter is part of the machine or its image.
    """
    with ThreadPoolExecutor() as threads:  # an interpreter takes its time to start
        found = [one for one in threads.map(_asked, _paths(python)) if one is not None]
    wanted = [one for one in found if one.python.startswith(f"{python}.")]
    if wanted:
        cpython = [one for one in wanted if one.implementation == "CPython"]
        return max(cpython or wanted)
    others = sorted(minor for minor in _minors() if _asked_any(f"3.{minor}"))
    raise ModelError(
        f"there is no Python {python} on this machine, which environment.python asks for; it has "
        f"{', '.join(f'3.{minor}' for minor in others)}. Install it (pyenv and `uv python install` "
        "do), or write one of these"
    )


def _asked_any(python: str) -> bool:
    return any(_asked(path) is not None for path in _paths(python))


def _minors() -> set[int]:
    """Return x of every Python 3.x that has a file here, whether or not it works."""
    return {int(match[1]) for path in _all_paths() if (match := _NAME.match(path.name))}


def _paths(python: str) -> Iterator[Path]:
    for path in _all_paths():
        if path.name in (f"python{python}", f"pypy{python}"):
            yield path


@cache
def _all_paths() -> tuple[Path, ...]:
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    managed = (
        Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions",
        Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python"),
    )
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders += [Path(sys.base_prefix) / "bin", Path("/usr/local/bin"), Path("/usr/bin")]
    folders += [bin_ for root in managed for bin_ in sorted(root.glob("*/bin"))]
    folders += sorted(Path("/opt").glob("*/bin"))
    found = (path for folder in folders if folder.is_dir() for path in sorted(folder.glob("p*3.*")))
    return tuple(dict.fromkeys(path for path in found if _NAME.match(path.name)))


@cache
def _asked(path: Path) -> Interpreter | None:
    """Return what the interpreter says of itself; None for one that does not work, such as pyenv's
    stand-ins for a version that is not selected.
    """
    try:
        done = subprocess.run(
            [path, "-I", "-c", _QUERY], capture_output=True, timeout=60, check=True
        )
        real, version, implementation, platform = json.loads(done.stdout)
        numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(numbers, Path(real), implementation, platform)
