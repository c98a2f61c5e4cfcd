"""The processes of a service, and the socket that they share: uvicorn's."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

import uvicorn
from threadpoolctl import threadpool_limits
from uvicorn.supervisors import Multiprocess

from scoring.errors import ScoringError
from scoring.serving.app import create_app
from scoring.serving.guard import LOOPBACK
from scoring.serving.jobs import Jobs, check_jobs
from scoring.serving.settings import Settings

log = logging.getLogger(__name__)

_STARTUP_FAILURE = 3
"""uvicorn's exit status of a process that could not start."""


class ListenError(ScoringError):
    """An address that the service cannot listen on, or should not."""

    exit_status = 2


class StartError(ScoringError):
    """A process of the service that cannot load its jobs."""


class _Workers(Multiprocess):
    """Processes of which it is noticed at once that they have ended.

    uvicorn keeps both ends of the pipe over which it asks them whether they are well. Of a process
    that ends before it answers, it would wait for the whole timeout.
    """

    def init_processes(self) -> None:
        super().init_processes()
        self._leave_their_ends()

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        self._leave_their_ends()

    def _leave_their_ends(self) -> None:
        for process in self.processes:
            process.child_conn.close()


def serve(
    settings: Settings,
    host: str,
    port: int,
    workers: int,
    insecure: bool,
    on_listening: Callable[[str], None],
) -> int:
    """Answer requests until the process is asked to end; return its exit status.

    ``on_listening`` is called with the URL.  Raises what is wrong with a job, a model or the
    address, before anything listens.
    """
    if settings.tokens is None and host not in LOOPBACK and not insecure:
        raise ListenError(
            f"{host} can be reached from other machines, and nobody would be asked for a token; give "
            "--tokens FILE, or --insecure if something else lets only the right ones through"
        )
    _log_to_stderr()
    jobs = None
    if workers == 1:
        jobs = Jobs(settings)
        jobs.load()
    else:  # each loads them itself
        check_jobs(settings)
    listening = _listen(host, port)
    config = uvicorn.Config(
        partial(_app, settings, jobs, None if workers == 1 else os.getpid()),
        factory=True,
        host=host,
        port=port,
        workers=workers,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.timeout_seconds) + 1,
        timeout_worker_healthcheck=60,
    )
    host, port = listening.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    log.info("%s, %s process%s", url, workers, "es" if workers > 1 else "")
    on_listening(url)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises again what has ended it
    if workers == 1:
        uvicorn.Server(config).run(sockets=[listening])
    else:
        processes = _Workers(config, sockets=[listening])
        processes.run()
        if any(process.exitcode == _STARTUP_FAILURE for process in processes.processes):
            raise StartError("a process of the service could not start; the log says why")
    return 0


def _app(settings: Settings, jobs: Jobs | None, parent: int | None) -> object:
    # A model in its thread lets go of the interpreter so often, or requests would wait 5 ms for it
    # each time that one is read or answered.
    sys.setswitchinterval(0.0005)
    # One thread each: several processes share the cores, and BLAS adds in an order of its own
    # with more than one.
    threadpool_limits(1)
    if jobs is None:
        _log_to_stderr()
    return create_app(settings, jobs, parent)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise ListenError(f"{host}:{port} cannot be listened on: {error.strerror}") from None
    found.set_inheritable(True)
    return found
