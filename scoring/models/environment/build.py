"""Environments on disk: built once for each lock, whole or not there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from scoring.errors import ModelError, ResourceError, raise_if_resource_error
from scoring.models.base import EnvironmentSpec
from scoring.models.environment.interpreters import Interpreter, find_interpreter
from scoring.models.environment.lock import locked, packages
from scoring.models.environment.process import killed_by, variables
from scoring.models.environment.uv import run_uv
from scoring.storage.local import exclusive

FOLDER = "SCORING_ENVIRONMENTS"
"""The variable that names the folder of all environments."""

log = logging.getLogger(__name__)

_BUILDING = "building-"
_RECORD = "environment.json"


@dataclass(frozen=True)
class Environment:
    """An environment that is there.  ``seconds`` is what building it took now, 0 if it was there."""

    folder: Path
    interpreter: Interpreter
    lock: str
    seconds: float = 0.0

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def lock_sha256(self) -> str:
        return hashlib.sha256(self.lock.encode()).hexdigest()

    @property
    def packages(self) -> dict[str, str]:
        return packages(self.lock)

    @property
    def record(self) -> dict[str, str]:
        """What the manifest says of it."""
        return {"python": self.interpreter.python, "lock_sha256": self.lock_sha256}


def cache_folder() -> Path:
    """Return $SCORING_ENVIRONMENTS, else ``~/.cache/batch-scoring/environments``."""
    given = os.environ.get(FOLDER)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given).absolute() if given else caches / "batch-scoring" / "environments"


def environment_of(spec: EnvironmentSpec) -> Environment:
    """Return the environment that ``spec`` describes, built where it is not there.

    Its name is the digest of all that it is made of, so two jobs that say the same share one, and
    of two processes that start at once, one builds and the other waits.  Raises ModelError,
    MissingPackageError and ResourceError.
    """
    interpreter, cache = find_interpreter(spec.python), cache_folder()
    lock = locked(spec.requirements, interpreter, cache)
    of = [lock, interpreter.python, interpreter.implementation, interpreter.platform]
    name = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:32]
    found = Environment(cache / name, interpreter, lock)
    if _is_there(found):
        return found
    with exclusive(f"{cache}/{name}.lock", f"the environment {found.folder}", wait=True):
        if _is_there(found):
            return found
        started = time.monotonic()
        _build(found)
        seconds = time.monotonic() - started
    log.info(
        f"the environment {found.folder} of Python {interpreter.python} was built in {seconds:.1f} s"
    )
    return replace(found, seconds=seconds)


def _is_there(environment: Environment) -> bool:
    # The folder is complete since it has its name; its interpreter may have been uninstalled.
    return (environment.folder / _RECORD).is_file() and os.access(environment.python, os.X_OK)


def _build(environment: Environment) -> None:
    """Build under a temporary name, verify by importing, rename.  Killed, it leaves nothing that is
    used, and the next build of the same environment removes it.
    """
    target = environment.folder
    for left in target.parent.glob(f"{_BUILDING}{target.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}{target.name}-", dir=target.parent))
        try:
            _install(environment, temporary)
            _verify(environment, temporary)
            (temporary / _RECORD).write_text(json.dumps(environment.record), encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            os.replace(temporary, target)  # noqa: PTH105 - the call that is atomic
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise_if_resource_error(error)
        raise ModelError(
            f"the environment {target} cannot be written: {error.strerror}; {FOLDER} names another "
            "folder"
        ) from None


def _install(environment: Environment, folder: Path) -> None:
    doing = f"building the environment of Python {environment.interpreter.python}"
    python = str(environment.interpreter.path)
    make = ["venv", "--quiet", "--relocatable", "--clear", "--python", python, str(folder)]
    run_uv(make, folder.parent, doing)
    lock = folder / "requirements.lock"
    lock.write_text(environment.lock, encoding="utf-8")
    install = ["pip", "sync", "--quiet", "--python", str(folder / "bin" / "python")]
    install += ["--require-hashes", "--only-binary", ":all:", str(lock)]
    run_uv(install, folder, doing)


def _verify(environment: Environment, folder: Path) -> None:
    """Import what a child will: a package that does not fit its numpy fails here."""
    modules = {"pandas": "pandas", "pyarrow": "pyarrow", "joblib": "joblib", "skops": "skops.io"}
    modules |= {"scikit-learn": "sklearn.base", "scipy": "scipy.sparse"}
    wanted = ", ".join(module for name, module in modules.items() if name in environment.packages)
    done = subprocess.run(
        [folder / "bin" / "python", "-I", "-c", f"import {wanted}"],
        env=variables((), threads=1),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode in (-signal.SIGTERM, -signal.SIGKILL):  # see run_uv; others are of a package
        raise ResourceError(
            f"importing {wanted} in the environment of Python {environment.interpreter.python}: the "
            f"process {killed_by(done.returncode)}"
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ModelError(
            f"the environment of Python {environment.interpreter.python} was built, and importing "
            f"{wanted} in it fails: {last}. Name releases in environment.requirements that work "
            "together, as `pip freeze` printed them where the model was trained"
        )
