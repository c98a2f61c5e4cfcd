"""The shell command as a user calls it, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def score(job: Path, partition: str, data: Path, *options: str) -> dict[str, Any]:
    """The manifest that ``python -m scoring run`` prints."""
    command = [sys.executable, "-m", "scoring", "run", str(job), partition, "--data", str(data)]
    done = subprocess.run([*command, "--json", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def record_the_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two manifests tell of the same work: all but who did it, where and how fast."""
    return _work(one) == _work(other)


def _work(manifest: Any) -> Any:
    if isinstance(manifest, dict):
        return {
            key: _work(value)
            for key, value in manifest.items()
            if key not in ("run", "uri", "durations_seconds")
        }
    if isinstance(manifest, list):
        return [_work(item) for item in manifest]
    return manifest
