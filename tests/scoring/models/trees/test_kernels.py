"""The compiled part refuses what it could not read: with an exception, never by going on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scoring.models.trees.compiled import kernels
from scoring.models.trees.ensemble import frozen

RANKED: dict[str, Any] = {
    "features": ([1], np.uint32),
    "starts": ([0, 3], np.uint32),
    "thresholds": ([0.0, 1.0, np.inf], np.float64),
    "pairs": ([0, 1], np.uint32),
    "scales": ([0], np.uint32),
    "masks": ([0xFFFFFFFF] * 256, np.uint32),
    "outputs": ([0], np.uint32),
    "values": ([1.0] * 32, np.float64),
}
WALKED: dict[str, Any] = {
    "nodes": ([0x7F80000000000000 >> 32 | 2 << 32], np.uint64),  # a leaf: +inf, leads to itself
    "starts": ([0, 1], np.uint32),
    "depths": ([0], np.uint32),
    "outputs": ([0], np.uint32),
    "values": ([1.0], np.float64),
}


def made(parts: dict[str, Any], **changes: Any) -> list[Any]:
    return [
        changes[name] if name in changes and isinstance(changes[name], np.ndarray)
        else frozen(*changes.get(name, part))
        for name, part in parts.items()
    ]  # fmt: skip


def ranked(columns: int = 2, width: int = 1, **changes: Any) -> Any:
    return kernels().Ranked(*made(RANKED, **changes), columns, width)


def walked(bits: int = 1, columns: int = 2, width: int = 1, **changes: Any) -> Any:
    return kernels().Walked(*made(WALKED, **changes), bits, columns, width)


def test_what_is_right_is_taken() -> None:
    out = np.zeros((3, 1))
    ranked().add(np.zeros((3, 2)), out)
    walked().add(np.zeros((3, 2), dtype=np.float32), out)
    assert out.tolist() == [[2.0]] * 3


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"features": ([2], np.uint32)}, ValueError),
        ({"features": ([1], np.int64)}, TypeError),
        ({"features": np.array([1], dtype=np.uint32)}, ValueError),
        ({"starts": ([0], np.uint32)}, ValueError),
        ({"starts": ([], np.uint32)}, ValueError),
        ({"starts": ([0, 2], np.uint32)}, ValueError),
        ({"starts": ([3, 3], np.uint32)}, ValueError),
        ({"thresholds": ([0.0, 1.0], np.float64)}, ValueError),
        ({"thresholds": ([0.0] * 511, np.float64), "starts": ([0, 511], np.uint32)}, ValueError),
        ({"thresholds": ([0.0] * 4, np.float64), "starts": ([0, 4], np.uint32)}, ValueError),
        ({"thresholds": ([[0.0, 1.0, 2.0]], np.float64)}, TypeError),
        ({"pairs": ([0, 2], np.uint32)}, ValueError),
        ({"pairs": ([0, 1, 0], np.uint32)}, ValueError),
        ({"scales": ([1], np.uint32)}, ValueError),
        ({"scales": ([0, 0], np.uint32)}, ValueError),
        ({"masks": ([0] * 255, np.uint32)}, ValueError),
        ({"masks": ([0] * 256, np.uint16)}, TypeError),
        ({"masks": ([0] * 256, np.uint64)}, ValueError),
        ({"outputs": ([0, 0], np.uint32)}, ValueError),
        ({"values": ([1.0] * 31, np.float64)}, ValueError),
        ({"values": ([1.0] * 32, np.float32)}, TypeError),
        ({"width": 0}, ValueError),
        ({"width": 2}, ValueError),
        ({"columns": -1}, ValueError),
        ({"columns": 1}, ValueError),
    ],
)
def test_tables_that_do_not_belong_together(changes: Any, error: type) -> None:
    with pytest.raises(error):
        ranked(**changes)


def node(threshold: float, left: int, missing_left: bool, feature: int) -> int:
    bits = int(np.array([threshold], dtype=np.float32).view(np.uint32)[0])
    return bits | (left << 2 | missing_left << 1 | feature) << 32


LEAF = (np.inf, 1, True, 0)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"nodes": ([node(np.inf, 1, True, 0)], np.uint64)}, ValueError),
        ({"nodes": ([node(1.0, 0, True, 0)], np.uint64)}, ValueError),
        ({"nodes": ([node(np.inf, 0, False, 0)], np.uint64)}, ValueError),
        ({"nodes": ([node(-np.inf, 0, True, 0)], np.uint64)}, ValueError),
        ({"nodes": ([node(np.nan, 0, True, 0)], np.uint64)}, ValueError),
        ({"nodes": ([node(np.inf, 0, True, 1)], np.uint64), "columns": 1}, ValueError),
        ({"nodes": ([], np.uint64), "starts": ([0, 0], np.uint32), "values": ([], np.float64)},
         ValueError),
        ({"nodes": ([0], np.uint32)}, TypeError),
        ({"starts": ([0, 1, 1], np.uint32)}, ValueError),
        ({"depths": ([0, 0], np.uint32)}, ValueError),
        ({"values": ([1.0, 2.0], np.float64)}, ValueError),
        ({"bits": -1}, ValueError),
        ({"bits": 31}, ValueError),
        ({"width": 0}, ValueError),
        ({"values": np.ones(1)}, ValueError),
    ],
)  # fmt: skip
def test_nodes_that_lead_somewhere_else(changes: Any, error: type) -> None:
    with pytest.raises(error):
        walked(**changes)


ROWS = np.zeros((3, 2))


@pytest.mark.parametrize(
    ("x", "out", "error"),
    [
        (np.zeros((3, 3)), np.zeros((3, 1)), ValueError),
        (np.zeros(3), np.zeros((3, 1)), TypeError),
        (np.zeros((3, 2), dtype=int), np.zeros((3, 1)), TypeError),
        (np.zeros((3, 2), dtype=">f8"), np.zeros((3, 1)), TypeError),
        (np.zeros((3, 2), dtype=object), np.zeros((3, 1)), TypeError),
        (ROWS, np.zeros((2, 1)), ValueError),
        (ROWS, np.zeros((3, 0)), ValueError),
        (ROWS, np.zeros((3, 1), dtype=np.float32), TypeError),
        (ROWS, frozen(np.zeros((3, 1)), np.float64), ValueError),
        (ROWS, [[0.0]] * 3, TypeError),
        (None, np.zeros((3, 1)), TypeError),
    ],
)
def test_rows_that_do_not_fit(x: Any, out: Any, error: type) -> None:
    tables, nodes = ranked(), walked()
    with pytest.raises(error):
        tables.add(x, out)
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        x = x.astype(np.float32)
    with pytest.raises(error):
        nodes.add(x, out)


def test_rows_that_are_not_aligned_or_not_in_order() -> None:
    data = np.zeros(3 * 2 * 8 + 1, dtype=np.uint8)[1:]
    with pytest.raises((ValueError, TypeError)):
        ranked().add(data.view(np.float64).reshape(3, 2), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="contiguous"):
        walked().add(np.zeros((2, 3), dtype=np.float32).T, np.zeros((3, 1)))
    with pytest.raises(TypeError):
        ranked().add(ROWS)
    with pytest.raises(TypeError):
        kernels().Ranked()
    with pytest.raises(TypeError):
        kernels().Walked(1, 2)


def test_no_rows_are_nothing_to_do() -> None:
    out = np.zeros((0, 1))
    ranked().add(np.zeros((0, 2)), out)
    walked().add(np.zeros((0, 2), dtype=np.float32), out)


def scales(**changes: Any) -> list[Any]:
    return made({name: RANKED[name] for name in ("features", "starts", "thresholds")}, **changes)


def test_ranks_are_how_many_thresholds_are_less() -> None:
    x = np.array([[9, -1.0], [9, 0.0], [9, 0.5], [9, 1.0], [9, 2.0], [9, np.inf], [9, np.nan]])
    for rows in (x, x.astype(np.float32), np.asfortranarray(x)):
        out = np.empty((7, 1), dtype=np.float32)
        kernels().ranks(rows, *scales(), out)
        assert out.ravel()[:6].tolist() == [0, 0, 1, 1, 2, 2]
        assert np.isnan(out[6, 0])
    with pytest.raises(ValueError, match="a row for each"):
        kernels().ranks(x, *scales(), np.empty((6, 1), dtype=np.float32))
    with pytest.raises(ValueError, match="a row for each"):
        kernels().ranks(x, *scales(), np.empty((7, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="beyond the columns"):
        kernels().ranks(x, *scales(features=([2], np.uint32)), np.empty((7, 1), dtype=np.float32))
    with pytest.raises(TypeError):
        kernels().ranks(x, *scales(), np.empty((7, 1)))
