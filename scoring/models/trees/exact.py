"""The sum of an ensemble's trees, computed here, and compared with scikit-learn's own as it is used.

Two comparisons, bit by bit: of rows that are made to meet thresholds, when a model is loaded;
and of the first rows that a process scores.  After one difference it is scikit-learn that adds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from scoring.models.trees.ensemble import Ensemble, Floats, Rows, UnsupportedError
from scoring.models.trees.made_rows import made_rows
from scoring.models.trees.ranked import Ranked, fits_tables
from scoring.models.trees.scales import scales_of
from scoring.models.trees.walked import Walked

log = logging.getLogger(__name__)

ROWS_COMPARED = 2_048
"""So many rows of those that a process scores first, evenly spaced over each call."""

LEAST_ROWS_OF_A_THREAD = 8_192

Add = Callable[[Rows, Floats], None]
"""Adds the values of all trees for rows to an array of outputs."""


class _Kernel(Protocol):
    block_rows: int | None

    def add(self, x: Rows, out: Floats) -> None: ...


class ExactTrees:
    """The trees of ``ensemble`` for rows of ``dtype``; ``name`` is for messages.

    ``own`` is what scikit-learn does itself. UnsupportedError where it gives another bit for the
    made rows.
    """

    def __init__(self, name: str, ensemble: Ensemble, dtype: Any, own: Add) -> None:
        self.name = name
        self.differs: str | None = None
        """What differed from scikit-learn's own; None as long as nothing has."""
        self.refused = False
        """Whether rows were left to scikit-learn, as they were of another form."""
        self._columns, self._dtype = ensemble.columns, np.dtype(dtype)
        self._outputs = int(ensemble.outputs.max()) + ensemble.width
        self._kernel = _kernel(ensemble, self._dtype)
        self._of_process, self._compared = os.getpid(), 0
        self._prove(ensemble, own)

    def _prove(self, ensemble: Ensemble, own: Add) -> None:
        x = made_rows(ensemble, self._dtype)
        found, expected = np.zeros((2, len(x), self._outputs))
        self._sum(x, found, 1)
        own(x, expected)
        if what := difference(found, expected):
            raise UnsupportedError(f"it differs from scikit-learn's own on made rows: {what}")

    def takes(self, x: Any, out: Any) -> bool:
        """Return whether ``x`` and ``out`` are what scikit-learn makes of rows, and no difference was
        found so far.
        """
        if self.differs is not None:
            return False
        fits = (
            isinstance(x, np.ndarray)
            and x.dtype == self._dtype
            and x.ndim == 2
            and x.shape[1] == self._columns
            and x.flags.aligned
            and isinstance(out, np.ndarray)
            and out.dtype == np.float64
            and out.shape == (len(x), self._outputs)
            and out.flags.aligned
        )
        self.refused |= not fits
        return fits

    def add(self, x: Rows, out: Floats, threads: int, own: Add) -> None:
        """Add the values of all trees for ``x`` to ``out``, with at most so many threads.

        ``own`` is what scikit-learn does instead: it is asked for the first rows of a process, and
        for all of ``x`` where they differ.
        """
        compared = self._rows_to_compare(len(x))
        before = out.copy() if compared else None
        self._sum(x, out, threads)
        if before is None:
            return
        at = np.linspace(0, len(x) - 1, compared).astype(np.int64)
        expected = np.ascontiguousarray(before[at])
        own(np.ascontiguousarray(x[at]), expected)
        if what := difference(out[at], expected):
            self.differs = f"it differed from scikit-learn's own on rows that were scored: {what}"
            log.warning(
                "%s: exact trees are off from here on, as the sum of the trees differs from "
                "scikit-learn's own: %s; what is returned is scikit-learn's",
                self.name,
                what,
            )
            out[...] = before
            own(x, out)

    def _rows_to_compare(self, rows: int) -> int:
        if self._of_process != os.getpid():  # a fork, on which nothing was compared so far
            self._of_process, self._compared = os.getpid(), 0
        due = max(0, min(rows, ROWS_COMPARED - self._compared))  # other threads may count, too
        self._compared += due
        return due

    def _sum(self, x: Rows, out: Floats, threads: int) -> None:
        """Rows do not depend on each other, so that neither threads nor blocks change a sum."""
        threads = max(1, min(threads, len(x) // LEAST_ROWS_OF_A_THREAD))
        if threads == 1:
            self._sum_in_blocks(x, out)
            return
        ends = [len(x) * part // threads for part in range(threads + 1)]
        parts = [slice(*pair) for pair in pairwise(ends)]
        with ThreadPoolExecutor(threads - 1) as pool:  # this thread is one, too
            others = [pool.submit(self._sum_in_blocks, x[part], out[part]) for part in parts[1:]]
            self._sum_in_blocks(x[parts[0]], out[parts[0]])
            for other in others:
                other.result()

    def _sum_in_blocks(self, x: Rows, out: Floats) -> None:
        size = self._kernel.block_rows or max(1, len(x))
        for start in range(0, len(x), size):
            block = slice(start, start + size)
            self._kernel.add(x[block], out[block])


def _kernel(ensemble: Ensemble, dtype: np.dtype[Any]) -> _Kernel:
    """Return ``ensemble`` as tables where it has small trees and few thresholds, else as nodes."""
    of_doubles = dtype == np.float64
    few_leaves = fits_tables(ensemble)
    scales = scales_of(ensemble) if few_leaves or of_doubles else None
    if scales is not None and few_leaves:
        return Ranked(ensemble, scales)
    if of_doubles and scales is None:
        raise UnsupportedError("a feature has more than 254 thresholds")
    return Walked(ensemble, scales if of_doubles else None)


def difference(found: Floats, expected: Floats) -> str | None:
    """Return the first difference of two arrays in words; None where all bits are equal.

    Zeros have a sign, and NaN equals NaN.
    """
    bits = [np.ascontiguousarray(values).view(np.uint64) for values in (found, expected)]
    unequal = (bits[0] != bits[1]) & ~(np.isnan(found) & np.isnan(expected))
    if not unequal.any():
        return None
    row, output = (int(place[0]) for place in np.nonzero(unequal))
    return (
        f"{float(found[row, output])!r} and not {float(expected[row, output])!r} in "
        f"{int(unequal.any(axis=1).sum()):,} of {len(found):,} rows"
    )
