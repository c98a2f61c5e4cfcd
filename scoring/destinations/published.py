"""What is published under a destination of files, as the manifests there say.

The instant of publication is the swap of the predictions.  The new manifest is written before it,
under a ``.next-`` name, so whichever manifest has the digest of the predictions is the true one,
even if the publisher died in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from glob import escape

from scoring.destinations.layout import NEXT, Layout
from scoring.destinations.manifest import Manifest, parse_manifest
from scoring.storage.base import Storage


def published(layout: Layout, storage: Storage, path: str) -> Manifest | None:
    """Return the manifest of what readers of the partition at ``path`` get now; None if nothing is."""
    for waiting in waiting_manifests(layout, storage, path):
        data = storage.read(waiting)  # None: published in this very moment
        manifest = parse_manifest(data, waiting) if data is not None else None
        if manifest and storage.sha256(manifest.output.uri) == manifest.output.sha256:
            return manifest
    uri = layout.manifest(path)
    current = storage.read(uri)
    return parse_manifest(current, uri) if current is not None else None


def all_published(layout: Layout, storage: Storage) -> Iterator[Manifest]:
    """Yield the manifests of all published partitions, in order of their keys."""
    found = storage.find(f"{escape(layout.manifests)}/*.json")
    files = (f.uri.rpartition("/")[2].removesuffix(".json") for f in found)
    for path in sorted({file.partition(NEXT)[0] for file in files}):
        manifest = published(layout, storage, path)
        if manifest is not None:
            yield manifest


def waiting_manifests(layout: Layout, storage: Storage, path: str) -> list[str]:
    """Return the manifests that wait, or that a publisher which died has left."""
    return [f.uri for f in storage.find(f"{escape(layout.manifests)}/{path}{NEXT}*.json")]
