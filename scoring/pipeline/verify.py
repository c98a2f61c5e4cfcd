"""Score a published partition again, to check that the same bytes come out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from scoring.destinations.manifest import Manifest, code_version, package_versions
from scoring.errors import VerifyError
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.elsewhere import job_elsewhere
from scoring.pipeline.local import OnProgress, score_partition
from scoring.storage.temporary import TemporaryFolder


def verify_partition(
    context: PartitionContext,
    workers: int | None = None,
    on_progress: OnProgress = lambda step, rows, total: None,
) -> Manifest:
    """Return the manifest of the published partition, after scoring it again gave the same bytes.

    Scores with the model version that the manifest names, into a temporary folder.  Raises
    VerifyError if nothing is published, if the published object is not the one that its manifest
    describes, or if scoring again gives other bytes; the message names what changed since.
    """
    what, publisher = context.name, context.publisher
    manifest = intact_manifest(context)
    with closing(TemporaryFolder("verify")) as folder:
        again = score_partition(
            PartitionContext(
                replace(context.job_file, job=job_elsewhere(context.job, folder.name)),
                context.partition,
                context.roots,
                "verify",
                context.connections,
                publisher.columns(),
            ),
            {"by": "verify"},
            manifest.model.version if context.job.model else None,
            workers,
            on_progress,
        )
    if again.output.sha256 != manifest.output.sha256:
        changes = list(_changes(manifest, again)) or ["nothing that the manifest records"]
        raise VerifyError(
            f"scoring {what} again gives other bytes ({again.output.sha256}) than are published "
            f"({manifest.output.sha256}); the published ones were left as they are. Changed since: "
            + "; ".join(changes)
        )
    return manifest


def intact_manifest(context: PartitionContext) -> Manifest:
    """Return the manifest of the published partition, whose files are as it describes them.

    Raises VerifyError if nothing is published, if it is another job's, or if a file is another one.
    """
    what, publisher = context.name, context.publisher
    manifest = publisher.published(context.partition)
    if manifest is None:
        raise VerifyError(f"nothing is published for {what} under {publisher.uri}")
    if not context.job.is_own(manifest.job):
        raise VerifyError(
            f"what is published for {context.partition.key} under {publisher.uri} is the job "
            f"{manifest.job}'s, not {context.job.name}'s, and was not compared. Give "
            f"{context.job.name} a destination of its own, or list its former names in "
            "destination.former_names"
        )
    for published in (manifest.output, *manifest.beside):
        storage = context.connections.storage(publisher.uri)
        actual = storage.sha256(published.uri)
        if actual != published.sha256:
            raise VerifyError(
                f"{published.uri} is not what was published: its sha256 is {actual or 'none'}, the "
                f"manifest says {published.sha256}. Score {what} again to repair it"
            )
    return manifest


def _changes(published: Manifest, again: Manifest) -> Iterator[str]:
    if published.source.sha256 != again.source.sha256:
        yield f"the source {again.source.uri}"
    if published.model.sha256 != again.model.sha256:
        yield f"the model file {again.model.uri}"
    for name, file in published.model.files.items():
        if name in again.model.files and file.sha256 != again.model.files[name].sha256:
            yield f"the artifact {name} ({again.model.files[name].uri})"
    if published.scorer_sha256 != again.scorer_sha256:
        yield "the scorer file"
    if published.model.environment != again.model.environment:
        yield "the Python or the packages of the model's environment"
    if published.job_sha256 != again.job_sha256:
        yield "the job file"
    if published.code_version != code_version():
        yield f"this package ({published.code_version} to {code_version()})"
    for name, version in package_versions().items():
        if published.packages.get(name) != version:
            yield f"{name} ({published.packages.get(name)} to {version})"
