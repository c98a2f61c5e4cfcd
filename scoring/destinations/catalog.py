"""All of what is published at a destination at once: the manifests, and the files as they are listed.

A listing and the index answer for any number of partitions, so no manifest is read twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scoring.destinations.base import Publisher
from scoring.destinations.index import (
    Entry,
    ManifestSummary,
    read_entries,
    read_index,
    version_of,
    write_index,
)
from scoring.destinations.layout import NEXT, Layout
from scoring.destinations.published import published
from scoring.storage.base import ObjectInfo, Storage


@dataclass(frozen=True)
class Catalog:
    """What lies at a destination: ``summaries`` by partition key, ``sizes`` of the predictions by
    partition key, the paths of the partitions that are ``held`` or have something ``staged``.

    ``sizes`` is None for a kind of destination whose files cannot be listed.
    """

    summaries: dict[str, ManifestSummary]
    sizes: dict[str, int] | None
    held: frozenset[str]
    staged: frozenset[str]

    def is_changed(self, key: str) -> bool:
        """Return whether the predictions are not of the size that their manifest says."""
        if self.sizes is None:
            return False
        return self.sizes.get(key) != self.summaries[key].output.bytes


def catalog_of(publisher: Publisher) -> Catalog:
    """Return what lies at the destination of ``publisher``, of whatever kind that is."""
    catalog = getattr(publisher, "catalog", None)  # a kind of destination may have it
    if catalog is not None:
        found: Catalog = catalog()
        return found
    every = {m.partition: ManifestSummary.of(m) for m in publisher.all_published()}
    return Catalog(every, None, frozenset(), frozenset())


def read_catalog(layout: Layout, storage: Storage) -> Catalog:
    """Return what lies under ``layout``; brings the index up to date where that is possible.

    Where a manifest was read, or predictions do not go with their manifest, everything is listed
    again: another process may have published meanwhile. Only what both listings agree on is kept in
    the index.
    """
    listing = _Listing.read(layout, storage)
    index = read_index(layout, storage, version_of(listing.index)) if listing.index else {}
    entries = listing.current(index)
    unread = [listed for uri, listed in listing.manifests.items() if uri not in entries]
    entries |= read_entries(unread, storage)
    catalog = listing.catalog(entries, storage)
    if unread or any(map(catalog.is_changed, catalog.summaries)):
        listing = _Listing.read(layout, storage)
        confirmed = listing.current(entries)
        if confirmed and confirmed != index:
            write_index(layout, storage, confirmed)
        replaced = [listed for uri, listed in listing.manifests.items() if uri not in confirmed]
        catalog = listing.catalog(confirmed | read_entries(replaced, storage), storage)
    return catalog


@dataclass(frozen=True)
class _Listing:
    """The objects of a destination at one moment."""

    layout: Layout
    manifests: dict[str, ObjectInfo]
    waiting: frozenset[str]
    sizes: dict[str, int]
    held: frozenset[str]
    staged: frozenset[str]
    index: ObjectInfo | None

    @classmethod
    def read(cls, layout: Layout, storage: Storage) -> _Listing:
        found = storage.listing(f"{layout.uri}/")
        manifests = {
            f.uri: f for f in found if _is_in(layout.manifests, f.uri) and f.uri.endswith(".json")
        }
        waiting = {uri for uri in manifests if NEXT in uri}
        predictions = [f for f in found if f.uri == layout.output_at(layout.path_of(f.uri))]
        return cls(
            layout,
            {uri: f for uri, f in manifests.items() if uri not in waiting},
            frozenset(map(layout.path_of, waiting)),
            {_key(layout.path_of(f.uri)): f.bytes for f in predictions},
            frozenset(layout.path_of(f.uri) for f in found if _is_in(layout.held, f.uri)),
            frozenset(layout.path_of(f.uri) for f in found if _is_in(layout.staging, f.uri)),
            next((f for f in found if f.uri == layout.index), None),
        )

    def current(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """Return those of ``entries`` that are of the manifests which are listed."""
        return {
            uri: entries[uri]
            for uri, listed in self.manifests.items()
            if uri in entries and entries[uri].version == version_of(listed)
        }

    def catalog(self, entries: Mapping[str, Entry], storage: Storage) -> Catalog:
        path_of = self.layout.path_of
        summaries = {_key(path_of(uri)): entry.summary for uri, entry in entries.items()}
        for path in self.waiting:  # a publication is under way, or was killed
            manifest = published(self.layout, storage, path)
            if manifest is not None:
                summaries[_key(path)] = ManifestSummary.of(manifest)
        return Catalog(summaries, self.sizes, self.held, self.staged)


def _is_in(folder: str, uri: str) -> bool:
    return uri.startswith(f"{folder}/")


def _key(path: str) -> str:
    """Return the key of the partition at ``path``, such as 2013-05 for month=2013-05."""
    return path.partition("=")[2]
