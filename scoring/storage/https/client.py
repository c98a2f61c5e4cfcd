"""Requests over HTTPS: certificates verified, redirects held to https, failures classified.

No credentials are ever sent: there are none.  Protocol: https://www.rfc-editor.org/rfc/rfc9110
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException, HTTPResponse, responses
from typing import TypeVar
from urllib.error import URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, Request

from scoring import __version__
from scoring.errors import SourceError, quoted

TIMEOUT_SECONDS = 30.0
"""How long a server may be silent, when it is asked and between any two pieces of an answer."""

TRIES = 5
FIRST_PAUSE_SECONDS = 1.0
REDIRECTS = 10

ABSENT = (404, 410)
_REDIRECTED = (301, 302, 303, 307, 308)
_TEMPORARY = (408, 429, 500, 502, 503, 504)
_UNRESERVED = "!#$%&'()*+,/:;=?@[]~"  # beside letters and digits: what a URL may have as it is

Result = TypeVar("Result")


class Interrupted(Exception):
    """A request that came to nothing, and may succeed when it is made again; its text says why."""


class Client:
    """Asks servers over HTTPS, their certificates verified."""

    def __init__(self) -> None:
        # Only these two: nothing here could follow a redirect to http:, ftp: or file:, or log in.
        self._opener = OpenerDirector()
        self._opener.add_handler(ProxyHandler())
        self._opener.add_handler(HTTPSHandler(context=ssl.create_default_context()))

    @contextlib.contextmanager
    def ask(
        self, method: str, uri: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[HTTPResponse]:
        """Yield the answer, whatever its status, after redirects; it must be read within the block.

        Raises Interrupted where the network failed, in the block too, and SourceError where another
        try would be of no use.
        """
        try:
            with self._final_answer(method, uri, headers or {}) as answer:
                yield answer
        except (OSError, HTTPException, UnicodeError) as error:  # the last: no name of a host
            cause = error.reason if isinstance(error, URLError) else error
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise SourceError(
                    f"{uri}: the server's certificate cannot be trusted: {cause.verify_message}. "
                    "The environment variable SSL_CERT_FILE names a file with "
                    "the certificates of a private authority"
                ) from error
            raise Interrupted(quoted(str(cause), 200) or type(cause).__name__) from error

    def _final_answer(self, method: str, uri: str, headers: Mapping[str, str]) -> HTTPResponse:
        always = {"User-Agent": f"batch-scoring/{__version__}", "Accept-Encoding": "identity"}
        url = quote(uri, safe=_UNRESERVED)
        for _ in range(REDIRECTS):
            request = Request(url, headers={**always, **headers}, method=method)
            answer: HTTPResponse = self._opener.open(request, timeout=TIMEOUT_SECONDS)
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTED or not target:
                return answer
            answer.close()
            url = quote(urljoin(url, target), safe=_UNRESERVED)
            _check_redirect(uri, url)
        raise SourceError(f"{uri}: more than {REDIRECTS} redirects")


def with_retries(uri: str, look: Callable[[], Result]) -> Result:
    """Return what ``look`` returns; SourceError if it is interrupted in each of TRIES tries."""
    for number in range(1, TRIES + 1):
        try:
            return look()
        except Interrupted as error:
            why = str(error)
        if number < TRIES:
            pause_after(number)
    raise SourceError(f"{uri} cannot be requested: {why}, in each of {TRIES} tries")


def pause_after(failures: int) -> None:
    """Sleep for a pause that doubles with each failure in a row."""
    time.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))


def unexpected(uri: str, answer: HTTPResponse) -> Exception:
    """Return the error for a status without a file: Interrupted if the next try may succeed."""
    message = f"the server answered {answer.status} {responses.get(answer.status, '')}".rstrip()
    if answer.status in _TEMPORARY:
        return Interrupted(message)
    return SourceError(f"{uri}: {message}. Over https only files that anyone may fetch can be read")


def _check_redirect(uri: str, url: str) -> None:
    target = urlsplit(url)
    if target.scheme != "https" or "@" in target.netloc:
        raise SourceError(
            f"{uri}: the server redirects to {target.scheme}://{target.hostname or ''}, and only "
            "https:// without a user is followed"
        )
