"""A real HTTPS server on loopback that can be as unreliable as servers far away are."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


class Site:
    """What the server has and how it behaves; ``requests`` and ``bytes_sent`` say what it was
    asked.

    ``statuses`` and ``ends`` are used up, one by a request: a status instead of the file, and after
    how many bytes of the body the connection is cut (None: not at all).
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.statuses: list[int] = []
        self.ends: list[int | None] = []
        self.head_status: int | None = None
        self.stalls = False  # an end is a silence, not a cut
        self.takes_ranges = True
        self.looks_at_if_range = True
        self.etag = "strong"  # or "weak", or "" for none
        self.last_modified = "Tue, 05 Feb 2013 10:00:00 GMT"  # or "" for none
        self.framing = "length"  # or "chunks", or "none": the end of the connection is the body's
        self.replaced_by: dict[str, bytes] = {}  # after the next end
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bytes_sent = 0
        self.ended = threading.Event()

    def gets(self, path: str) -> list[dict[str, str]]:
        """The headers of each GET request for ``path``."""
        return [headers for method, p, headers in self.requests if (method, p) == ("GET", path)]

    def marks(self, data: bytes) -> dict[str, str]:
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        marks = {"strong": {"ETag": etag}, "weak": {"ETag": f"W/{etag}"}, "": {}}[self.etag]
        return marks | ({"Last-Modified": self.last_modified} if self.last_modified else {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, with_body: bool) -> None:
        site = self.server.site
        headers = {name.lower(): value for name, value in self.headers.items()}
        site.requests.append((self.command, self.path, headers))
        if self.path in site.redirects:
            return self._empty(302, {"Location": site.redirects[self.path]})
        if not with_body and site.head_status:
            return self._empty(site.head_status)
        if site.statuses:
            return self._empty(site.statuses.pop(0))
        data = site.files.get(self.path)
        if data is None:
            return self._empty(404)
        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        marks = site.marks(data)
        same = not site.looks_at_if_range or headers.get("if-range") in (None, *marks.values())
        if wanted and site.takes_ranges and same:
            start, status = int(wanted[1]), 206
            if start >= len(data):
                return self._empty(416, {"Content-Range": f"bytes */{len(data)}"})
            marks["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            if wanted[2]:
                data = data[: int(wanted[2]) + 1]
        body = data[start:]
        length = {
            "length": {"Content-Length": str(len(body))},
            "chunks": {"Transfer-Encoding": "chunked"},
            "none": {"Connection": "close"},
        }[site.framing]
        self.send_response(status)
        for name, value in (marks | length).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self._send(body)

    def _send(self, body: bytes) -> None:
        site = self.server.site
        end = site.ends.pop(0) if site.ends else None
        view = memoryview(body)[:end]
        for start in range(0, len(view), 1 << 16):
            piece = view[start : start + (1 << 16)]
            if site.framing == "chunks":
                self.wfile.write(f"{len(piece):x}\r\n".encode())
            self.wfile.write(piece)
            if site.framing == "chunks":
                self.wfile.write(b"\r\n")
            site.bytes_sent += len(piece)
        if end is None:
            if site.framing == "chunks":
                self.wfile.write(b"0\r\n\r\n")
            return
        site.files.update(site.replaced_by)
        self.close_connection = True
        if site.stalls:
            site.ended.wait(60)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _empty(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: Site

    def handle_error(self, *_: Any) -> None:
        pass  # clients that do not trust it, and those that it has cut


@contextlib.contextmanager
def serving(certificate: Path) -> Iterator[tuple[Site, str]]:
    """A site, and the URL of its root; ``certificate`` is what ``certify`` has written."""
    server = _Server((HOST, 0), _Handler)
    server.site = Site()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.site, f"https://{HOST}:{server.server_port}"
    finally:
        server.site.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def certify(folder: Path) -> tuple[Path, Path]:
    """A certificate authority's certificate, and one of it for loopback with its key."""
    of_authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    names = [x509.IPAddress(ipaddress.ip_address(HOST)), x509.DNSName("localhost")]
    authority = (
        _certificate(name, x509.Name([]), of_authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    server = (
        _certificate(x509.Name([]), name, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
    )
    public = of_authority.public_key()
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    trusted, served = folder / "authority.pem", folder / "server.pem"
    signed = authority.issuer_name(name).sign(of_authority, hashes.SHA256())
    trusted.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    signed = server.add_extension(identifier, critical=False).sign(of_authority, hashes.SHA256())
    served.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return trusted, served


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=issuer if issuer.rdns else None,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=1),
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return builder.add_extension(identifier, critical=False)


def _usage(**allowed: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**(dict.fromkeys(names, False) | allowed))
