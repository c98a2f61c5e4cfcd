"""The ``uv`` command, which resolves and installs what an environment has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scoring.errors import MissingPackageError, ModelError, ResourceError
from scoring.models.environment.process import PASSED, killed_by

EXTRA = "environments"
TIMEOUT_SECONDS = 3600
_OF_NETWORK = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
_NO_NETWORK = re.compile(
    r"dns error|error sending request|failed to fetch|could not connect|network|"
    r"connect(ion)? (error|refused|timed out)|timed out",
    re.IGNORECASE,
)


class UvError(ModelError):
    """uv could not do it: says why in uv's own last words."""


def uv_path() -> str:
    """Return the command beside this interpreter, else the one on the path; MissingPackageError."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
    if found is None:
        raise MissingPackageError(
            "the command uv is missing, which environments of models need: "
            f"pip install 'batch-scoring[{EXTRA}]'"
        )
    return found


def run_uv(arguments: Sequence[str], folder: Path, doing: str) -> str:
    """Return what uv prints; UvError, which says what it was ``doing``.

    ResourceError if uv was killed: with a task that Airflow stops, or for want of memory.

    uv is given few environment variables, as packages of others may take part.  ``folder`` is where
    it looks for a project's settings, and is empty of them.
    """
    try:
        done = subprocess.run(
            [uv_path(), "--color", "never", "--no-progress", *arguments],
            cwd=folder,
            env=_variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UvError(f"{doing}: uv did not finish within {TIMEOUT_SECONDS} s") from None
    if done.returncode < 0:
        raise ResourceError(f"{doing}: uv {killed_by(done.returncode)}")
    if done.returncode:
        why = _last_words(done.stderr) or f"exit status {done.returncode}"
        offline = " (is the package index reachable?)" if _NO_NETWORK.search(done.stderr) else ""
        raise UvError(f"{doing} failed{offline}; uv says: {why}")
    return done.stdout


def _variables() -> dict[str, str]:
    network = {*_OF_NETWORK, *(name.lower() for name in _OF_NETWORK)}
    found = {
        name: value
        for name, value in os.environ.items()
        if name in {*PASSED, *network, "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
        or name.startswith(("LC_", "UV_"))
    }
    return found | {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "COLUMNS": "1000"}


def _last_words(stderr: str) -> str:
    """Return the last item of uv's report, in one line."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    starts = [
        i for i, line in enumerate(lines) if re.match(r"\s*(╰─▶|error:|×|Caused by:|cause:)", line)
    ]
    hints = [i for i, line in enumerate(lines) if line.strip().startswith("hint:")]
    end = next((i for i in hints if starts and i > starts[-1]), len(lines))
    words = " ".join(lines[starts[-1] if starts else -1 : end])
    return re.sub(r"^\s*(╰─▶|error:|×|Caused by:|cause:)\s*|\s+(?=\s)|\s+$", "", words)
