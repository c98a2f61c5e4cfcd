"""The staging of this process: marked as its own while it works, and that of killed ones removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from scoring.destinations.attempts import LOCK, OWNER, Owner, attempts
from scoring.errors import HeldError, PublicationError, ScoringError
from scoring.pipeline.context import PartitionContext
from scoring.storage.base import write
from scoring.storage.local import exclusive


@contextlib.contextmanager
def held(context: PartitionContext) -> Iterator[None]:
    """Mark the attempt as this process's while the block runs; its staging is gone afterwards,
    unless the partition is held.

    Raises PublicationError if another process holds it.
    """
    storage, owner = context.storage, f"{context.staging}{OWNER}"
    remote, is_kept = "://" in context.staging, False
    with exclusive(f"{context.staging}{LOCK}", context.name):
        try:
            if remote:  # first: nothing is staged that nobody owns
                # A process that may not write fails at the predictions, with a message about them.
                with contextlib.suppress(PublicationError):
                    write(storage, owner, Owner.this_process().model_dump_json().encode())
            yield
        except HeldError:
            is_kept = True
            raise
        finally:
            with contextlib.suppress(PublicationError, OSError):  # or it would hide why it ended
                if not is_kept:
                    storage.remove_tree(context.staging)
                storage.remove(owner if remote else f"{context.staging}{LOCK}")


def remove_abandoned_attempts(context: PartitionContext) -> None:
    """Remove what killed processes have staged for the partition; whatever fails is never worth a
    run.
    """
    storage, staging = context.storage, context.publisher.staging
    with contextlib.suppress(ScoringError, OSError):
        for attempt in attempts(storage, staging, context.partition.path):
            ours = attempt.uri == context.staging
            if not ours and attempt.why_abandoned(storage, days_kept=None):
                attempt.remove(storage)
