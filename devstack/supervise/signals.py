"""Which signals end a command, and when they are ignored."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], None] | signal.Handlers


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on `kill` and on a closed terminal, as on Ctrl-C.

    Ctrl-C is set too: a shell script starts its background commands with SIGINT ignored.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handlers(dict.fromkeys(_ENDING, interrupt)):
        yield


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore signals during work that must be finished and takes only seconds."""
    with _handlers(dict.fromkeys(_ENDING, signal.SIG_IGN)):
        yield


@contextmanager
def _handlers(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
