"""Passwords and keys of this installation: drawn once, kept in a file that only its owner can read."""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from local.errors import LocalError


@dataclass(frozen=True)
class Secrets:
    """What Airflow and Postgres need; each is a random text."""

    fernet_key: str  # encrypts connections in Airflow's database
    jwt_secret: str  # signs the tokens of users and of tasks
    api_secret_key: str  # signs the web UI's sessions and the requests for logs
    database_password: str
    ui_password: str


def load_or_create(path: Path) -> Secrets:
    """The secrets in `path`, made on the first call.

    They must outlive a restart: with another Fernet key, Airflow could not read the connections it has stored.
    """
    if path.exists():
        try:
            return Secrets(**json.loads(path.read_text()))
        except (TypeError, ValueError) as error:
            names = ", ".join(field.name for field in fields(Secrets))
            raise LocalError(
                f"{path} does not hold the secrets of this installation ({names}): {error}. "
                "`make clean` removes this installation of Airflow; `make run` then makes a new one."
            ) from None
    drawn = Secrets(
        fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        jwt_secret=secrets.token_urlsafe(32),
        api_secret_key=secrets.token_urlsafe(32),
        database_password=secrets.token_urlsafe(24),
        ui_password=secrets.token_urlsafe(12),
    )
    write_private(path, json.dumps(asdict(drawn), indent=2) + "\n")
    return drawn


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; it appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
