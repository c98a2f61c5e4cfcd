"""Why a task failed, from its log: Airflow writes one JSON object per line."""

import json
from pathlib import Path


def failure_reason(log: Path) -> str | None:
    """Return the last error message in a task's log; None if there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "critical"):
            details = entry.get("error_detail") or [{}]
            return str(details[0].get("exc_value") or entry.get("event"))
    return None
