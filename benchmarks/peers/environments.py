"""Environments of the peers that this project's own cannot hold: MLflow asks for older releases."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

UV = Path(sys.executable).with_name("uv")
LOCKS = Path(__file__).parent


def environment(name: str, folder: Path) -> Path:
    """Return an environment with what ``NAME.txt`` pins, on this Python; make it if it is not there."""
    lock, place = LOCKS / f"{name}.txt", folder / name
    stamp = place / ".installed"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        print(f"installing {name} …", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        _uv("venv", "--quiet", "--python", sys.executable, str(place))
        python = str(place / "bin/python")
        locked = ["--require-hashes", "--requirement", str(lock)]
        _uv("pip", "install", "--quiet", "--compile-bytecode", "--python", python, *locked)
        stamp.write_bytes(lock.read_bytes())
    return place


def _uv(*arguments: str) -> None:
    done = subprocess.run([UV, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: uv {arguments[0]} failed:\n{done.stderr[-3000:]}")
