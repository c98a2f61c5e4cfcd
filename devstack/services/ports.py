"""Free ports of this machine."""

import socket
from contextlib import ExitStack

from devstack.errors import DevstackError

HOST = "127.0.0.1"  # this machine only: nothing that is started here speaks TLS
PREFERRED_PORT = 8080
HIGHEST_PORT = 65_535
TRIES = 1_000


def free_port() -> int:
    """Return one free port."""
    return free_ports(1)[0]


def free_ports(count: int, twin_offset: int = 0) -> list[int]:
    """Return different free ports. With `twin_offset`, the port that much above each is free as
    well.
    """
    found: list[int] = []
    with ExitStack() as held:  # until all are found, or one would be found twice
        for _ in range(TRIES):
            if len(found) == count:
                return found
            probe = held.enter_context(socket.socket())
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
            if not twin_offset:
                found.append(port)
            elif port + twin_offset <= HIGHEST_PORT:
                twin = held.enter_context(socket.socket())
                try:
                    twin.bind((HOST, port + twin_offset))
                except OSError:
                    continue
                found.append(port)
    raise DevstackError(f"no {count} free ports were found at {HOST}")


def port_of_ui(wanted: int | None) -> int:
    """Return the wanted port, else the preferred one, else any that is free."""
    if wanted is not None and not _is_free(wanted):
        raise DevstackError(
            f"port {wanted} is in use; choose another one, or omit --port to get a free one"
        )
    return wanted or (PREFERRED_PORT if _is_free(PREFERRED_PORT) else free_port())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
