"""Who may ask: bearer tokens, of which a service keeps digests only."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from scoring.errors import ScoringError
from scoring.sources.databases.environment import connection_in_environment

SHORTEST = 16
"""Characters of a token: fewer could be guessed."""


class TokenError(ScoringError):
    """Tokens that cannot be read, or that are none."""

    exit_status = 2


def tokens_in_file(path: Path) -> frozenset[str]:
    """Return the digests of the tokens in a file: one a line; empty lines and ``#`` are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise TokenError(f"the tokens in {path} cannot be read: {why}") from None
    tokens = [line.strip() for line in lines]
    found = [token for token in tokens if token and not token.startswith("#")]
    if not found:
        raise TokenError(f"{path} has no token; write one a line, such as `openssl rand -hex 32`")
    return frozenset(_checked(token, str(path)) for token in found)


def token_of_connection(conn_id: str) -> frozenset[str]:
    """Return the digest of the password of an Airflow connection in the environment."""
    found = connection_in_environment(conn_id)
    if not found.password:
        raise TokenError(f"the connection {conn_id!r} has no password, which would be the token")
    return frozenset({_checked(found.password, f"the connection {conn_id!r}")})


def is_known(header: str | None, tokens: frozenset[str]) -> bool:
    """Return whether an ``Authorization`` header has one of the tokens."""
    scheme, _, token = (header or "").partition(" ")
    given = digest(token.strip())
    # All of them, so that the time does not tell which was close.
    matches = [hmac.compare_digest(given, known) for known in tokens]
    return scheme.lower() == "bearer" and any(matches)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _checked(token: str, where: str) -> str:
    if len(token) < SHORTEST or not token.isascii() or " " in token:
        raise TokenError(
            f"a token in {where} has fewer than {SHORTEST} characters, or other ones than ASCII "
            "without spaces; write one such as `openssl rand -hex 32` prints"
        )
    return digest(token)
