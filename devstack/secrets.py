"""Passwords and keys of this installation: generated once, kept in a file that only its owner can
read.
"""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from devstack.errors import DevstackError


def _key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _long() -> str:
    return secrets.token_urlsafe(32)


def _password() -> str:
    return secrets.token_urlsafe(24)


def _name() -> str:
    return secrets.token_hex(10)


def _typed_password() -> str:
    return secrets.token_urlsafe(12)


@dataclass(frozen=True)
class Secrets:
    """What Airflow and the services beside it need. `Secrets()` generates each one, as text that
    needs no escaping in URLs, JSON, YAML and shells."""

    fernet_key: str = field(default_factory=_key)  # encrypts connections in Airflow's database
    jwt_secret: str = field(default_factory=_long)  # signs the tokens of users and of tasks
    api_secret_key: str = field(default_factory=_long)  # signs sessions and requests for logs
    database_password: str = field(default_factory=_password)
    broker_password: str = field(default_factory=_password)
    s3_access_key: str = field(default_factory=_name)
    s3_secret_key: str = field(default_factory=_long)
    s3_reader_access_key: str = field(default_factory=_name)  # of what only reads: the service
    s3_reader_secret_key: str = field(default_factory=_long)
    ui_password: str = field(default_factory=_typed_password)
    serve_token: str = field(default_factory=_long)  # asks the service for predictions


def load_or_create(path: Path) -> Secrets:
    """Read the secrets in `path`; generate those that are missing, and keep them there.

    They must survive a restart: with another Fernet key, Airflow cannot read the connections it has
    stored.
    """
    kept: dict[str, str] = {}
    if path.exists():
        try:
            kept = asdict(Secrets(**json.loads(path.read_text())))
        except (TypeError, ValueError) as error:
            names = ", ".join(each.name for each in fields(Secrets))
            raise DevstackError(
                f"{path} does not hold the secrets of this installation ({names}): {error}. `make "
                "clean` removes this installation of Airflow; `make run` then makes a new one."
            ) from None
    complete = Secrets(**kept)
    text = json.dumps(asdict(complete), indent=2) + "\n"
    if not path.exists() or path.read_text() != text:
        write_private(path, text)
    return complete


def write_private(path: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
