"""Step 3 of 3: the staged predictions become the published partition, in one step for its readers.

How a destination swaps a partition is in ``scoring.destinations``; here rows are accounted for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from scoring.destinations.manifest import ChallengerRecord, Manifest
from scoring.errors import (
    HeldError,
    NewerPublicationError,
    NotStagedError,
    ResourceError,
    ScoringError,
)
from scoring.models.base import ModelFile
from scoring.monitoring.judgement import reasons_to_hold
from scoring.pipeline.challengers import NO_CHALLENGERS, challenger_context
from scoring.pipeline.comparison import compare_tables
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.handover import (
    Scored,
    extraction_uri,
    load_extraction,
    published_before,
    same_work,
)
from scoring.pipeline.hold import (
    BY,
    CHANGES,
    DRIFT,
    Held,
    accepted,
    hold,
    read_held,
    release,
)
from scoring.pipeline.joined import JoinedShards
from scoring.pipeline.joins import joined_columns
from scoring.pipeline.published_file import PublishedPredictions
from scoring.pipeline.record import manifest_of
from scoring.storage.base import write

log = logging.getLogger(__name__)

OnRows = Callable[[int], None]


def publish(
    context: PartitionContext,
    scored: Iterable[Scored],
    triggered_by: Mapping[str, str],
    on_rows: OnRows = lambda rows: None,
    *,
    replace_newer: bool = False,
    asked_model: Callable[[], ModelFile] | None = None,
) -> Manifest:
    """Publish the partition from its ``scored`` shards, in the order of their numbers.

    ``triggered_by`` says who ran this (for the manifest's ``run``); ``on_rows`` is called with each
    number of rows joined.  Readers get the old partition until the predictions are swapped, and the
    new one from then on.  The staging is removed at the end.

    The work may be done already; then the manifest of that is returned, and nothing is changed: an
    Airflow run (``run_id`` in ``triggered_by``) may have published before it was killed, if
    ``asked_model`` does not give another model than that; and another run may have published the
    same rows meanwhile, scored by the same model for the same job file.

    Raises PublicationError if shards are missing or changed, if rows do not add up by count or by
    key, or if another process publishes this partition; NewerPublicationError if one has done so
    since extract, unless ``replace_newer``; ContractError as extract does.
    """
    started, waited = time.monotonic(), 0.0
    storage, publisher = context.storage, context.publisher
    done = published_before(context, triggered_by, asked_model)
    if done is not None:
        storage.remove_tree(context.staging)
        return done
    extraction = load_extraction(context)
    try:
        with publisher.begin(
            context.partition, extraction.replaces, triggered_by, context.staging, replace_newer
        ) as publication:
            joined = JoinedShards(context, extraction, publication)
            for shard, seconds in _timed(scored):
                waited += seconds
                on_rows(joined.add(shard))
            output = joined.close()
            run = _hold_back(joined, output.sha256, triggered_by)
            challengers = _publish_challengers(joined, triggered_by)
            quarantined = publication.write_quarantine(joined.quarantined())
            left_out = None
            if context.job.output.keep_left_out:
                left_out = publication.write_left_out(joined.left_out())
            manifest = publication.commit(
                manifest_of(
                    joined,
                    output,
                    (quarantined, left_out),
                    challengers,
                    run,
                    time.monotonic() - started - waited,
                )
            )
    except NewerPublicationError:
        newer = publisher.published(context.partition)
        if newer is None or not same_work(newer, extraction):
            raise
        manifest = newer
    if context.staged_in is None:  # or it goes with the staging that it lies in
        storage.remove(extraction_uri(context))  # first: it is never there without its shards
        storage.remove_tree(context.staging)
    release(context)
    return manifest


def publish_held(context: PartitionContext, why: str, by: str) -> Manifest:
    """Publish the partition for all that it is held for: ``by`` accepts it, and says ``why``.

    Raises HeldError where it is not held, and what ``publish`` raises.
    """
    held = read_held(context)
    if held is None:
        raise HeldError(
            f"{context.name} is not held, so there is nothing to accept; `scoring coverage "
            f"{context.job.name}` shows what is"
        )
    attempt = replace(context, attempt=held.attempt)
    try:
        return publish(attempt, held.scored, accepted(held.run, by, drift=why, changes=why))
    except NotStagedError:
        release(context)
        raise


def _hold_back(
    joined: JoinedShards, sha256: str, triggered_by: Mapping[str, str]
) -> dict[str, str]:
    """Compare the partition with its references and with what is published; raise HeldError where the
    job holds it.

    Returns the ``run`` of the manifest: what somebody accepts stands there only where it was needed.
    """
    context, config = joined.context, joined.context.job.checks.drift
    joined.find_drift()
    joined.find_changes(sha256)
    reasons = {
        DRIFT: reasons_to_hold(joined.drift, config.hold) if config else [],
        CHANGES: joined.changes.reasons,
    }
    needed = [key for key, found in reasons.items() if found]
    if any(not triggered_by.get(key) for key in needed):
        raise hold(
            context,
            Held(
                partition=context.partition.key,
                attempt=context.attempt,
                model_version=joined.extraction.model.version,
                reasons=reasons[DRIFT],
                drift=joined.drift,
                changes=reasons[CHANGES],
                difference=joined.changes.difference,
                scored=joined.handed,
                run=dict(triggered_by),
            ),
        )
    without = {DRIFT, CHANGES, BY} - {*needed, *([BY] if needed else [])}
    run = {key: value for key, value in triggered_by.items() if key not in without}
    return joined.changes.accepted | run


def _publish_challengers(
    joined: JoinedShards, triggered_by: Mapping[str, str]
) -> list[ChallengerRecord]:
    """Publish what the challengers made of the rows, each for itself; what is wrong is recorded."""
    challengers = joined.extraction.challengers
    errors, found = dict(challengers.errors), []
    for shard in joined.handed:
        errors |= shard.challenger_errors
    for version, file in challengers.files.items():
        if version in errors:
            continue
        try:
            found.append(_publish_challenger(joined, version, file, triggered_by))
        except ResourceError:
            raise  # it is the machine's
        except ScoringError as error:
            errors[version] = str(error)
    for version, why in errors.items():
        log.warning("%s: the challenger %s failed: %s", joined.context.name, version, why)
        found.append(ChallengerRecord(version=version, error=why))
    return found


def _publish_challenger(
    joined: JoinedShards, version: str, file: ModelFile, triggered_by: Mapping[str, str]
) -> ChallengerRecord:
    context, job = joined.context, joined.context.job
    beside = challenger_context(context, version)
    extraction = joined.extraction.model_copy(
        update={
            "model": file,
            "replaces": beside.publisher.mark(context.partition),
            "challengers": NO_CHALLENGERS,
        }
    )
    write(beside.storage, extraction_uri(beside), extraction.model_dump_json().encode())
    shards = [shard.challengers[version] for shard in joined.handed]
    manifest = publish(beside, shards, triggered_by, replace_newer=True)
    segments = job.output.keep
    difference = compare_tables(
        job,
        joined.tables(),
        PublishedPredictions(beside, manifest).batches(joined_columns(job, segments)),
        segments,
    )
    return ChallengerRecord(
        version=manifest.model.version,
        sha256=manifest.model.sha256,
        output=manifest.output,
        rows_scored=manifest.rows.scored,
        difference=difference.model_dump(mode="json"),
    )


def in_order(scored: Iterable[Scored]) -> Iterator[Scored]:
    """Yield ``scored`` by shard number: Airflow hands mapped results over in any order."""
    yield from sorted(scored, key=lambda s: s.number)


def _timed(scored: Iterable[Scored]) -> Iterator[tuple[Scored, float]]:
    """Yield each of ``scored``, and the seconds that it was waited for."""
    items = iter(scored)
    while True:
        started = time.monotonic()
        shard = next(items, None)
        if shard is None:
            return
        yield shard, time.monotonic() - started
