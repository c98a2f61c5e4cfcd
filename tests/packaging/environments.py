"""Virtual environments that hold nothing but the wheel and what it asks for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))


@dataclass(frozen=True)
class Environment:
    """A virtual environment; its programs see nothing of the checkout and of this shell's Python."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def variables(self) -> dict[str, str]:
        """What its programs are started with, on top of which a test adds its own."""
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "SCORING", "PY"))
        }
        return kept | {
            "PATH": f"{self.bin}{os.pathsep}{os.defpath}",
            "VIRTUAL_ENV": str(self.folder),
        }

    def run(
        self, *command: str, cwd: Path, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its programs; with ``check``, an exit status other than 0 fails the test."""
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd,
            env=self.variables | variables,
            capture_output=True,
            text=True,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout, from a copy: a build leaves files behind."""
    copy = folder / "checkout"
    for name in ("scoring", "plugins"):
        shutil.copytree(
            REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    _uv("build", "--wheel", "--out-dir", str(folder / "dist"), str(copy))
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def make_environment(folder: Path, *requirements: str) -> Environment:
    """Create a virtual environment with ``requirements``, which are arguments of ``uv pip
    install``.
    """
    _uv("venv", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--python", str(folder / "bin" / "python"), *requirements)
    return Environment(folder)


def _uv(*arguments: str) -> None:
    assert UV is not None, "`make setup-dev` installs uv"
    done = subprocess.run([UV, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
