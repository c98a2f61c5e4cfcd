"""What every request to S3 shares: the client, names in place of URIs, and errors in words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from scoring.errors import ReplacedMeanwhileError, ScoringError

TRIES = 5
"""How often a request is made before its failure is reported."""

_ABSENT = ("NoSuchKey", "404", "NotFound")
_CONFLICT = (
    "PreconditionFailed",
    "ConditionalRequestConflict",
    "OperationAborted",
    "NoSuchUpload",  # the winner aborts the uploads of those that have lost by that
)
_FORBIDDEN = ("AccessDenied", "403", "AllAccessDisabled")
_BUSY = "the server is overloaded or failing, also after several retries: try again later"
_MEANING = {
    "NoSuchBucket": "there is no such bucket",
    "InvalidAccessKeyId": "the access key is not known to the server",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "ExpiredToken": "these credentials have expired",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "AccessDenied": "these credentials may not do this; docs/s3.md says what they need",
    "403": "these credentials may not do this, or are not known; docs/s3.md says what they need",
    "BadDigest": "the data was corrupted in transit and rejected by the server",
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "InternalError", "500", "503"), _BUSY),
}


def client_config() -> Config:
    """Bounded waits and retries: at worst ``TRIES`` times a minute and the pauses between."""
    return Config(
        retries={"mode": "standard", "total_max_attempts": TRIES},
        connect_timeout=10,
        read_timeout=60,
    )


def default_client() -> Any:
    """Return a client with boto3's own chain of credentials and settings."""
    return boto3.client("s3", config=client_config())


def split(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of an ``s3://`` URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


@contextlib.contextmanager
def translate_errors(uri: str, kind: type[ScoringError]) -> Iterator[None]:
    """Translate botocore's errors: FileNotFoundError for an absent object, else ``kind``."""
    try:
        yield
    except ClientError as error:
        code = code_of(error)
        if code in _ABSENT:
            raise FileNotFoundError(uri) from error
        if code in _CONFLICT:
            raise ReplacedMeanwhileError(
                f"{uri} was written by another process in the meantime; that one's stays, and "
                "nothing was changed by this one: run it again"
            ) from error
        message = error.response["Error"].get("Message", "")
        raise kind(f"{uri}: {_MEANING.get(code, 'S3 answered')} ({code}: {message})") from error
    except BotoCoreError as error:
        raise kind(
            f"{uri}: S3 cannot be reached or used: {str(error).rstrip('.')}. Check the endpoint, "
            "the network and the credentials; nothing was changed by this"
        ) from error


def code_of(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def is_forbidden(error: ClientError) -> bool:
    """Return whether the server or its policy does not offer what was requested."""
    return code_of(error) in (*_FORBIDDEN, "NotImplemented", "MethodNotAllowed")
