"""Start Airflow's API server with one user, `admin`, with the password of the variable UI_PASSWORD.

Airflow's SimpleAuthManager takes passwords from a file that it must be able to write. Without one
it generates a password and prints it to the log.
"""

import json
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path


def write_password(environment: MutableMapping[str, str]) -> None:
    """Write the file of passwords, for its owner only; the server's own environment is then without
    the password.
    """
    path = Path(environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"admin": environment.pop("UI_PASSWORD")}, file)


if __name__ == "__main__":
    if not os.environ.get("UI_PASSWORD"):
        sys.exit("error: the variable UI_PASSWORD, the password of the user admin, is not set")
    write_password(os.environ)
    os.execvp("airflow", ["airflow", "api-server"])
