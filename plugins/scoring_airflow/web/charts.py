"""Pictures: what is drawn where, as shapes that ``_charts.html`` makes SVG of.

Each has a title and a description for those who do not see it, and beside it stands a table with the
same numbers. Nothing is said by colour alone: a reference is an outline, a partition is filled.
Colours and line widths are in ``charts.css``, by the name of the shape's kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from scoring.monitoring.accuracy import CalibrationBin
from scoring.monitoring.histogram import Histogram
from scoring_airflow.web.formats import figure, percent

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Rect:
    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str = ""


@dataclass(frozen=True)
class Path:
    kind: str
    d: str
    title: str = ""


@dataclass(frozen=True)
class Dot:
    kind: str
    x: float
    y: float
    radius: float
    title: str = ""


@dataclass(frozen=True)
class Text:
    x: float
    y: float
    text: str
    anchor: Anchor = "start"
    kind: str = "label"


@dataclass(frozen=True)
class Drawing:
    """Shapes on a sheet of ``width`` and ``height``, the first ones below the others."""

    width: float
    height: float
    title: str
    description: str
    rects: list[Rect] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)

    def add(self, *shapes: Rect | Path | Dot | Text) -> None:
        for shape in shapes:
            if isinstance(shape, Rect):
                self.rects.append(shape)
            elif isinstance(shape, Path):
                self.paths.append(shape)
            elif isinstance(shape, Dot):
                self.dots.append(shape)
            else:
                self.texts.append(shape)


def line(points: Sequence[tuple[float, float]]) -> str:
    """Return the path that joins ``points``."""
    return "".join(f"{'L' if n else 'M'}{x:.1f} {y:.1f}" for n, (x, y) in enumerate(points))


def cut(text: str, characters: int) -> str:
    """Return ``text`` so short that it has room in a picture; the table beside it has all of it."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


# ---- Distributions

WIDTH = 320.0
_PLOT_HEIGHT, _LEFT, _TOP, _BELOW = 110.0, 42.0, 8.0, 20.0
_ROW, _NAMES = 22.0, 120.0
_NAME_CHARACTERS = 17


def distribution(found: Histogram, name: str, reference: str | None) -> Drawing:
    """Draw a column, and its ``reference`` as an outline: columns for numbers, rows for categories."""
    against = f" against {reference}" if reference else ""
    title = f"{name}{against}"
    description = _in_words(found, reference)
    as_columns = found.is_of_ranges or all(_is_number(one.label) for one in found.bins)
    draw = _columns if as_columns and len(found.bins) > 1 else _rows
    return draw(found, title, description, reference)


def _is_number(label: str) -> bool:
    return label == "null" or label.lstrip("-")[:1].isdigit()


def _in_words(found: Histogram, reference: str | None) -> str:
    if not found.bins:
        return "There are no values."
    most = max(found.bins, key=found.share)
    said = f"Most rows, {percent(found.share(most))}, have {most.label}"
    if reference and found.reference_rows:
        other = max(found.bins, key=found.reference_share)
        said += (
            f"; of {reference} most, {percent(found.reference_share(other))}, have {other.label}"
        )
    return said + "."


def _scale(found: Histogram, reference: str | None) -> float:
    shares = [found.share(one) for one in found.bins]
    if reference:
        shares += [found.reference_share(one) for one in found.bins]
    return max(shares, default=0.0) or 1.0


def _columns(found: Histogram, title: str, description: str, reference: str | None) -> Drawing:
    drawing = Drawing(WIDTH, _TOP + _PLOT_HEIGHT + _BELOW, title, description)
    most, base = _scale(found, reference), _TOP + _PLOT_HEIGHT
    width = (WIDTH - _LEFT - 4) / len(found.bins)
    gap = 0.5 if found.is_of_ranges else width * 0.12
    outline: list[tuple[float, float]] = []
    for number, one in enumerate(found.bins):
        x, height = _LEFT + number * width, _PLOT_HEIGHT * found.share(one) / most
        other = base - _PLOT_HEIGHT * found.reference_share(one) / most
        said = _said(found, number, reference)
        drawing.add(
            Rect("hit", x, _TOP, width, _PLOT_HEIGHT, said),
            Rect("own", x + gap, base - height, width - 2 * gap, height),
        )
        outline += [(x, other), (x + width, other)]
    drawing.add(Path("axis", f"M{_LEFT:.1f} {base:.1f}H{WIDTH - 4:.1f}"))
    if reference and found.reference_rows:
        ends = [(_LEFT, base), *outline, (_LEFT + width * len(found.bins), base)]
        drawing.add(Path("reference", line(ends)))
    drawing.add(Text(_LEFT - 6, _TOP + 8, percent(most), "end"), Text(_LEFT - 6, base, "0", "end"))
    _label_columns(drawing, found, width, base + 14)
    return drawing


def _label_columns(drawing: Drawing, found: Histogram, width: float, y: float) -> None:
    """Write the edges of ranges, or single values, below their columns, as far as there is room."""
    ranges = [one for one in found.bins if one.low is not None and one.high is not None]
    if ranges:
        shown = [(n * width, one.low or 0.0) for n, one in enumerate(ranges)]
        shown.append((len(ranges) * width, ranges[-1].high or 0.0))
        texts = [(x, figure(value)) for x, value in shown]
    else:
        texts = [((n + 0.5) * width, cut(one.label, 8)) for n, one in enumerate(found.bins)]
    every = max(1, -(-len(texts) // 5))
    for x, text in texts[::every]:
        at_end = _LEFT + x + 5 * len(text) > WIDTH
        drawing.add(Text(WIDTH if at_end else _LEFT + x, y, text, "end" if at_end else "middle"))
    if ranges and len(found.bins) > len(ranges):  # the nulls are the last column
        drawing.add(
            Text(_LEFT + (len(found.bins) - 0.5) * width, y, "null", "middle", "label null")
        )


def _rows(found: Histogram, title: str, description: str, reference: str | None) -> Drawing:
    drawing = Drawing(WIDTH, _TOP + _ROW * len(found.bins), title, description)
    most, room = _scale(found, reference), WIDTH - _NAMES - 50
    for number, one in enumerate(found.bins):
        y, own = _TOP + number * _ROW, room * found.share(one) / most
        said = _said(found, number, reference)
        drawing.add(
            Rect("own", _NAMES, y + 3, own, _ROW - 8, said),
            Text(_NAMES - 6, y + _ROW / 2 + 3, cut(one.label, _NAME_CHARACTERS), "end"),
        )
        end = own
        if reference and found.reference_rows:
            other = room * found.reference_share(one) / most
            drawing.add(Path("reference", _outline(_NAMES, y + 1, other, _ROW - 4)))
            end = max(own, other)
        drawing.add(Text(_NAMES + end + 5, y + _ROW / 2 + 3, percent(found.share(one))))
    return drawing


def _outline(x: float, y: float, width: float, height: float) -> str:
    return f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z"


def _said(found: Histogram, number: int, reference: str | None) -> str:
    one = found.bins[number]
    said = f"{one.label}: {one.rows:,} rows, {percent(found.share(one))}"
    if reference and found.reference_rows:
        said += f"; {reference}: {one.reference:,} rows, {percent(found.reference_share(one))}"
    return said


# ---- The way of the rows

_FLOW_WIDTH, _FLOW_HEIGHT, _NODE = 440.0, 150.0, 12.0
_TO, _LABEL_ROOM = 220.0, 34.0
_FLOW_CHARACTERS = 30


@dataclass(frozen=True)
class Branch:
    """Rows that go one way: ``kind`` is scored, quarantined or left-out."""

    kind: Literal["scored", "quarantined", "left-out"]
    label: str
    rows: int


def flow(rows_in: int, branches: Sequence[Branch], title: str) -> Drawing:
    """Draw how rows part into ``branches``, each as wide as its share, and never invisible."""
    branches = [branch for branch in branches if branch.rows]
    shares = [branch.rows / rows_in if rows_in else 0.0 for branch in branches]
    heights = [max(2.0, _FLOW_HEIGHT * share) for share in shares]
    tops, y = [], 4.0
    for height in heights:
        tops.append(y)
        y += max(height + 6, _LABEL_ROOM)
    total = max(y, _FLOW_HEIGHT + 8)
    said = "; ".join(f"{b.rows:,} {b.label}" for b in branches)
    drawing = Drawing(_FLOW_WIDTH, total, title, f"{rows_in:,} rows came in: {said}.")
    left, begin = 4.0, 70.0
    for branch, share, height, top in zip(branches, shares, heights, tops, strict=True):
        own = _FLOW_HEIGHT * share
        title_of = f"{branch.label}: {branch.rows:,} rows, {percent(share)}"
        drawing.add(
            Path(
                f"band {branch.kind}", _band(begin + _NODE, left, own, _TO, top, height), title_of
            ),
            Rect(f"node {branch.kind}", _TO, top, _NODE, height, title_of),
            Text(_TO + _NODE + 8, top + 11, cut(branch.label, _FLOW_CHARACTERS), kind="label name"),
            Text(_TO + _NODE + 8, top + 25, f"{branch.rows:,} · {percent(share)}"),
        )
        left += own
    drawing.add(
        Rect("node in", begin, 4, _NODE, _FLOW_HEIGHT),
        Text(begin - 8, _FLOW_HEIGHT / 2, "rows in", "end", "label name"),
        Text(begin - 8, _FLOW_HEIGHT / 2 + 14, f"{rows_in:,}", "end"),
    )
    return drawing


def _band(x: float, top: float, height: float, to: float, to_top: float, to_height: float) -> str:
    middle = (x + to) / 2
    return (
        f"M{x:.1f} {top:.1f}C{middle:.1f} {top:.1f} {middle:.1f} {to_top:.1f} {to:.1f} {to_top:.1f}"
        f"v{to_height:.1f}C{middle:.1f} {to_top + to_height:.1f} {middle:.1f} {top + height:.1f} "
        f"{x:.1f} {top + height:.1f}z"
    )


# ---- Lines

_SQUARE, _MARGIN = 200.0, 34.0


def calibration(bins: Sequence[CalibrationBin], name: str) -> Drawing:
    """Draw the share of rows that are of a class by their probability; the diagonal is perfect."""
    size = _SQUARE + _MARGIN + 8
    worst = max(bins, key=lambda one: abs(one.predicted - one.actual), default=None)
    said = "There are no rows."
    if worst:
        said = (
            f"Farthest from the diagonal: rows predicted with {percent(worst.predicted)} on average, "
            f"of which {percent(worst.actual)} are of the class."
        )
    drawing = Drawing(size, size, f"Calibration of {name}", said)

    def at(predicted: float, actual: float) -> tuple[float, float]:
        return _MARGIN + _SQUARE * predicted, 8 + _SQUARE * (1 - actual)

    drawing.add(
        Path("axis", line([at(0, 1), at(0, 0), at(1, 0)])),
        Path("ideal", line([at(0, 0), at(1, 1)])),
        Path("own-line", line([at(one.predicted, one.actual) for one in bins])),
    )
    for one in bins:
        x, y = at(one.predicted, one.actual)
        title = f"{one.rows:,} rows: {percent(one.predicted)} predicted, {percent(one.actual)} are"
        drawing.add(Dot("own", x, y, 3.5, title))
    for value in (0.0, 0.5, 1.0):
        x, y = at(value, value)
        drawing.add(
            Text(x, size - 18, f"{value:g}", "middle"),
            Text(_MARGIN - 5, y + 4, f"{value:g}", "end"),
        )
    drawing.add(
        Text(_MARGIN + _SQUARE / 2, size - 4, "predicted probability", "middle"),
        Text(_MARGIN + 6, 18, "share of the class"),
    )
    return drawing


def sparkline(
    values: Sequence[float | None], title: str, width: float = 120.0, height: float = 28.0
) -> Drawing:
    """Draw ``values`` in their order as a line, with a gap where there is none; the last has a dot."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    said = (
        f"From {figure(low)} to {figure(high)}, last {figure(known[-1])}."
        if known
        else "There are none."
    )
    drawing = Drawing(width, height, title, said)
    step = (width - 8) / max(1, len(values) - 1)
    places = [
        None
        if value is None
        else (4 + n * step, height - 4 - (height - 8) * ((value - low) / ((high - low) or 1.0)))
        for n, value in enumerate(values)
    ]
    joined = [line([one, other]) for one, other in pairwise(places) if one and other]
    drawing.add(Path("own-line", "".join(joined)))
    if last := next((place for place in reversed(places) if place), None):
        drawing.add(Dot("own", *last, 2.5))
    return drawing
