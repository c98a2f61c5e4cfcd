"""DuckDB as jobs may use it: SQL over what is handed to it, and nothing else of the machine."""

from __future__ import annotations

SAFE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
}
"""What SQL in a job file may not do: open files or addresses, and load extensions."""
