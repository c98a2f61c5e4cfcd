"""A TCP proxy on loopback that counts what passes, and fails where a test wants it to."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

_REASON = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
SLOW_DOWN = b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n%s" % (len(_REASON), _REASON)


@dataclass
class Fault:
    """What happens to the next ``times`` requests whose head contains ``request``.

    ``cut`` closes the connection and ``stall`` lets nothing more through, both after so many bytes
    of the answer, or of the request itself; ``refuse`` answers 503 in place of the server.
    """

    request: bytes
    what: Literal["cut", "stall", "refuse"] = "cut"
    where: Literal["answer", "request"] = "answer"
    after_bytes: int = 0
    times: int = 1
    met: int = 0


@dataclass
class Connection:
    client: socket.socket
    server: socket.socket
    fault: Fault | None = None
    left: int = 0

    def close(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass
class Counts:
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""
    answered_bytes: int = 0


class FaultyProxy:
    """Passes what comes to ``url`` on to the server at ``target_url``; a context manager."""

    def __init__(self, target_url: str) -> None:
        target = urlsplit(target_url)
        self._target = (target.hostname or "", target.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.faults: list[Fault] = []
        self.pause_seconds = 0.0
        """How long each 64 kB of an answer are held up."""
        self.counts = Counts()
        self._open: list[Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """From now on connections are refused, and those that were open are closed."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                connection = Connection(client, socket.create_connection(self._target))
                self._open.append(connection)
                for pump in (self._requests, self._answers):
                    threading.Thread(target=pump, args=(connection,), daemon=True).start()

    def _requests(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            while data := connection.client.recv(1 << 16):
                self._note(data, connection)
                fault = connection.fault
                if fault and fault.what == "refuse":
                    connection.client.sendall(SLOW_DOWN)
                    connection.close()
                elif fault and fault.where == "request":
                    if not self._pass(data, connection, connection.server):
                        return
                else:
                    connection.server.sendall(data)
        connection.close()

    def _answers(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            while data := connection.server.recv(1 << 16):
                self.counts.answered_bytes += len(data)
                time.sleep(self.pause_seconds)
                if connection.fault and connection.fault.where == "answer":
                    if not self._pass(data, connection, connection.client):
                        return
                else:
                    connection.client.sendall(data)
        connection.close()

    def _pass(self, data: bytes, connection: Connection, to: socket.socket) -> bool:
        """Sends as much of ``data`` as the fault allows; False when it has struck."""
        assert connection.fault is not None
        to.sendall(data[: connection.left])
        connection.left -= len(data)
        if connection.left > 0:
            return True
        if connection.fault.what == "cut":
            connection.close()
        return False

    def _note(self, data: bytes, connection: Connection) -> None:
        head = data.split(b"\r\n\r\n")[0]
        if b" HTTP/1.1\r\n" not in head:
            return  # more of a request's body
        self.counts.requests.append(head.split(b" HTTP/1.1")[0].decode())
        for fault in self.faults:
            if fault.request in head and fault.met < fault.times:
                fault.met += 1
                connection.fault, connection.left = fault, fault.after_bytes
                return
