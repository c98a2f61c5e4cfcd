"""Charts of what happened to a job from partition to partition: shapes of which ``_timeline.html``
makes SVG.

All charts of a page share one ``Axis``: a column for each partition, the bands of model versions below.
A chart is a picture and a table of the same texts. Lines differ by their dashes as well as by colour,
and break where nothing is published.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from scoring.monitoring.figures import OutputFigures
from scoring.monitoring.timeline import Point
from scoring_airflow.web.cells import Cell
from scoring_airflow.web.formats import figure, percent

PLOT, TOP = 110.0, 10.0
"""The height in which values are drawn, and the room above it."""
LABEL, BAND = 16.0, 20.0
HEIGHT = TOP + PLOT + LABEL + BAND
SCALE = 58.0
"""The width of the scale, which stands still while the columns are scrolled."""
_WIDTH, _NARROWEST, _WIDEST = 920.0, 8.0, 44.0
_CHARACTER = 6.2
_DOTS_UP_TO = 60
_CLASSES_DRAWN = 5

Values = Sequence[float | None]
Format = Callable[[float | None], str]


@dataclass(frozen=True)
class Band:
    """Partitions that follow each other and were scored by the same model version."""

    version: str
    colour: int | None
    x: float
    width: float

    @property
    def label(self) -> str:
        return self.version if self.width > _CHARACTER * len(self.version) + 6 else ""


@dataclass(frozen=True)
class Axis:
    """A column of width ``step`` for each of ``cells``, which ``points`` go along with."""

    cells: tuple[Cell, ...]
    points: tuple[Point, ...]
    step: float

    @classmethod
    def of(cls, cells: Sequence[Cell], points: Sequence[Point]) -> Axis:
        step = min(_WIDEST, max(_NARROWEST, _WIDTH / max(1, len(points))))
        return cls(tuple(cells), tuple(points), step)

    @property
    def width(self) -> float:
        return max(self.step * len(self.points), 120.0)

    @property
    def middles(self) -> list[float]:
        return [(n + 0.5) * self.step for n in range(len(self.points))]

    @property
    def groups(self) -> list[tuple[float, str]]:
        """Where a year, month or day begins, and its name as far as there is room."""
        found: list[tuple[float, str]] = []
        free = 0.0
        for n, cell in enumerate(self.cells):
            group = cell.place[0]
            if n and self.cells[n - 1].place[0] == group:
                continue
            x, width = n * self.step, _CHARACTER * len(group) + 8
            has_room = x >= free and x + width <= self.width
            found.append((x, group if has_room else ""))
            free = x + width if has_room else free
        return found

    @property
    def bands(self) -> list[Band]:
        numbered = list(enumerate(zip(self.cells, self.points, strict=True)))
        found = []
        for version, of in groupby(numbered, key=lambda one: _version(one[1][1])):
            run = list(of)
            if version is not None:
                colour = run[0][1][0].colour
                found.append(Band(version, colour, run[0][0] * self.step, len(run) * self.step))
        return found


def _version(point: Point) -> str | None:
    return point.figures.model_version if point.figures else None


@dataclass(frozen=True)
class Shape:
    """A path, or a rectangle or dot as one; ``kind`` is its class in ``job.css``."""

    kind: str
    d: str


@dataclass(frozen=True)
class Row:
    """A partition in the table of a chart: a text for each column. ``said`` has them in one."""

    cell: Cell
    texts: tuple[str, ...]
    said: str


@dataclass(frozen=True)
class Chart:
    """``legend`` has the kinds of shapes and what they are; ``ticks`` the heights of round values."""

    id: str
    title: str
    description: str
    axis: Axis
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    ticks: list[tuple[float, str]]
    shapes: list[Shape]
    legend: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Line:
    kind: str
    label: str
    values: Values


@dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` to ``high`` to heights; ``ticks`` are round values between them."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float], from_zero: bool) -> Scale:
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if from_zero or 0 <= low < 0.4 * high:
            low = min(0.0, low)
        if low == high:
            low, high = (0.0, high or 1.0) if high >= 0 else (low, 0.0)
        spread = high / 2 - low / 2  # by halves: the distance of the largest doubles is none
        raw = spread / 1.5
        if not 1e-300 < raw < 1e300:  # neither has round values between them
            return cls(low, high, (low, high))
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= raw)
        first = math.floor(low / step)
        last = max(math.ceil(high / step), first + 1)
        ticks = tuple(n * step for n in range(first, last + 1))
        return cls(ticks[0], ticks[-1], ticks)

    def y(self, value: float) -> float:
        share = (value / 2 - self.low / 2) / ((self.high / 2 - self.low / 2) or 1.0)
        return TOP + PLOT * (1 - min(1.0, max(0.0, share)))


def charts(cells: Sequence[Cell], points: Sequence[Point], prediction: str) -> list[Chart]:
    """Return the charts of ``points``, which go along with ``cells``; those that have nothing to show
    are left out.
    """
    axis = Axis.of(cells, points)
    found = [
        _predictions(axis, prediction),
        _classes(axis, prediction),
        _rows(axis),
        _quarantined(axis),
        _drift(axis),
        *_evaluations(axis),
    ]
    return [chart for chart in found if chart is not None]


def _predictions(axis: Axis, prediction: str) -> Chart | None:
    outputs = [_output(point, prediction) for point in axis.points]
    low, median, high, mean = (
        [getattr(of, name) if of else None for of in outputs]
        for name in ("low", "median", "high", "mean")
    )
    if not _known(median):
        return None
    lines = [Line("line-0", "median", median), Line("line-1", "mean", mean)]
    scale = Scale.of([*_known(low), *_known(high), *_known(mean)], from_zero=False)
    widths = [of.bucket_width for of in outputs if of and of.bucket_width]
    exact = "The mean is exact."
    if widths:
        exact += (
            f" Quantiles come from counts in buckets of at most {percent(max(widths))} of a value."
        )
    return _chart(
        axis,
        "predictions",
        f"Predictions: {prediction}",
        scale,
        [*_area(axis, scale, low, high), *_lines(axis, scale, lines)],
        [("median", median), ("5 %", low), ("95 %", high), ("mean", mean)],
        figure,
        [("area", "5–95 %"), *_legend(lines)],
        exact,
    )


def _classes(axis: Axis, prediction: str) -> Chart | None:
    outputs = [_output(point, prediction) for point in axis.points]
    totals: dict[str, int] = {}
    for of in outputs:
        for label, count in (of.classes if of else {}).items():
            totals[label] = totals.get(label, 0) + count
    if not totals:
        return None
    labels = sorted(totals, key=lambda label: (-totals[label], label))
    drawn = labels[:_CLASSES_DRAWN]
    shares = [(label, [_class_share(of, label) for of in outputs]) for label in drawn]
    rest = [_rest(of, drawn) for of in outputs]
    if any(share and share > 1e-12 for share in rest):
        shares.append(("others", rest))
    scale = Scale(0.0, 1.0, (0.0, 0.5, 1.0))
    kinds = [f"class-{n}" for n in range(len(shares))]
    stacks = [values for _, values in shares]
    return _chart(
        axis,
        "predictions",
        f"Predictions: shares of the classes of {prediction}",
        scale,
        list(_bars(axis, scale, kinds, stacks)),
        shares,
        percent,
        [(kind, label) for kind, (label, _) in zip(kinds, shares, strict=True)],
        "A bar has the classes from the bottom up in the order of the legend.",
    )


def _rows(axis: Axis) -> Chart | None:
    of = [point.figures for point in axis.points]
    if not any(of):
        return None
    columns = [
        ("scored", [one.scored if one else None for one in of]),
        ("quarantined", [one.quarantined if one else None for one in of]),
        ("left out", [one.left_out if one else None for one in of]),
    ]
    totals = [one.rows_in for one in of if one]
    scale = Scale.of(totals, from_zero=True)
    kinds = ["scored", "quarantined", "left-out"]
    chart = _chart(
        axis,
        "rows",
        "Rows",
        scale,
        list(_bars(axis, scale, kinds, [values for _, values in columns])),
        columns,
        figure,
        list(zip(kinds, (name for name, _ in columns), strict=True)),
    )
    reasons = [_counts(one.reasons | one.left_out_reasons) if one else "" for one in of]
    return _with_column(chart, "reasons", reasons)


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())


def _quarantined(axis: Axis) -> Chart | None:
    of = [point.figures for point in axis.points]
    fractions = [one.quarantined_fraction if one else None for one in of]
    limits = [one.quarantined_limit if one else None for one in of]
    if not any(_known(fractions)):
        return None
    lines = [Line("line-0", "quarantined", fractions)]
    highest = max(_known(fractions))
    near = [limit for limit in _known(limits) if limit <= 5 * highest]
    scale = Scale.of([*_known(fractions), *near], from_zero=True)
    shown: Values = [limit if limit in near else None for limit in limits]
    note = "" if len(near) == len(_known(limits)) else "A limit far above is only in the table."
    legend = _legend(lines) + ([("limit", "limit of checks")] if near else [])
    return _chart(
        axis,
        "quarantined",
        "Quarantined fraction",
        scale,
        [*_limit(axis, scale, shown), *_lines(axis, scale, lines)],
        [("quarantined", fractions), ("limit", limits)],
        percent,
        legend,
        note,
    )


def _drift(axis: Axis) -> Chart | None:
    of = [point.figures.drift if point.figures else None for point in axis.points]
    psi = [one.worst_psi if one else None for one in of]
    warns = [one.psi_warns if one else None for one in of]
    if not _known(psi):
        return None
    lines = [Line("line-0", "worst PSI", psi)]
    scale = Scale.of([*_known(psi), *_known(warns)], from_zero=True)
    chart = _chart(
        axis,
        "drift",
        "Drift: PSI of the column that has moved most",
        scale,
        [*_limit(axis, scale, warns), *_lines(axis, scale, lines)],
        [("PSI", psi), ("a warning from", warns)],
        figure,
        [*_legend(lines), ("limit", "worth a warning")],
        "Compared with the main reference of each partition.",
    )
    chart = _with_column(chart, "column", [one.worst_column if one else "" for one in of])
    return _with_column(chart, "reference", [one.reference if one else "" for one in of])


def _evaluations(axis: Axis) -> Iterator[Chart]:
    """Yield a chart for each kind of figure: those that share a unit share a scale."""
    names = {
        name: None
        for point in axis.points
        for name in (point.evaluation.figures if point.evaluation else {})
    }
    aucs = [name for name in names if name.startswith("auc ")]
    of_share = [name for name in ("accuracy", *aucs) if name in names]
    kinds: list[tuple[str, str, list[str], bool]] = [
        ("error", "Error", [n for n in ("rmse", "mae") if n in names], True),
        ("accuracy", "Accuracy and AUC" if aucs else "Accuracy", of_share[:4], False),
        ("log-loss", "Log loss", [n for n in ("log_loss",) if n in names], True),
    ]
    for id, title, shown, from_zero in kinds:
        chart = _evaluation(axis, id, title, shown, from_zero)
        if chart is not None:
            yield chart


def _evaluation(
    axis: Axis, id: str, title: str, names: Sequence[str], from_zero: bool
) -> Chart | None:
    every = [(name, [_error(point, name) for point in axis.points]) for name in names]
    known = [value for _, values in every for value in _known(values)]
    if not known:
        return None
    lines = [
        Line(f"line-{n}", _spelled(name), _where(axis, values, is_evaluated=True))
        for n, (name, values) in enumerate(every)
    ]
    scale = Scale.of(known, from_zero)
    circles = [
        shape
        for _, values in every
        for shape in _dots(axis, scale, "old", _where(axis, values, is_evaluated=False))
    ]
    evaluations = [point.evaluation for point in axis.points]
    outdated = [bool(p.evaluation) and not p.is_evaluated for p in axis.points]
    chart = _chart(
        axis,
        id,
        title,
        scale,
        [*_lines(axis, scale, lines), *circles],
        [(_spelled(name), values) for name, values in every],
        figure,
        _legend(lines) + ([("old", "of an earlier publication")] if circles else []),
        "Over the rows whose true values are known.",
    )
    counts = [f"{one.with_actual:,} of {one.published:,}" if one else "" for one in evaluations]
    chart = _with_column(chart, "rows with an actual", counts)
    if not circles:
        return chart
    texts = [
        ("an earlier publication" if is_old else "what is published") if one else ""
        for one, is_old in zip(evaluations, outdated, strict=True)
    ]
    return _with_column(chart, "evaluation of", texts)


def _where(axis: Axis, values: Values, is_evaluated: bool) -> Values:
    """Return ``values`` of evaluations that are of what is published, or of those that are not."""
    pairs = zip(values, axis.points, strict=True)
    return [value if point.is_evaluated == is_evaluated else None for value, point in pairs]


def _error(point: Point, name: str) -> float | None:
    return point.evaluation.figures.get(name) if point.evaluation else None


def _spelled(name: str) -> str:
    first, _, column = name.partition(" ")
    known = {"rmse": "RMSE", "mae": "MAE", "auc": "AUC", "log_loss": "log loss"}
    return f"{known.get(first, first)} {column}".strip()


def _output(point: Point, prediction: str) -> OutputFigures | None:
    return point.figures.outputs.get(prediction) if point.figures else None


def _class_share(of: OutputFigures | None, label: str) -> float | None:
    if of is None or not of.count:
        return None
    return of.classes.get(label, 0) / of.count


def _rest(of: OutputFigures | None, drawn: Sequence[str]) -> float | None:
    if of is None or not of.count:
        return None
    return 1 - sum(of.classes.get(label, 0) for label in drawn) / of.count


# ---- What all charts have


def _chart(
    axis: Axis,
    id: str,
    title: str,
    scale: Scale,
    shapes: list[Shape],
    columns: Sequence[tuple[str, Values]],
    written: Format,
    legend: list[tuple[str, str]],
    note: str = "",
) -> Chart:
    names = tuple(name for name, _ in columns)
    rows = []
    for n, (cell, point) in enumerate(zip(axis.cells, axis.points, strict=True)):
        texts = tuple(written(values[n]) for _, values in columns)
        said = f"{point.key} by {_version(point)}: " + ", ".join(
            f"{name} {text}" for name, text in zip(names, texts, strict=True) if text != "–"
        )
        if point.figures is None:
            said = f"{point.key}: nothing published"
        rows.append(Row(cell, texts, said))
    first = columns[0]
    return Chart(
        id,
        title,
        _in_words(axis, first[0], first[1], written),
        axis,
        names,
        tuple(rows),
        [(scale.y(tick), written(tick)) for tick in scale.ticks],
        shapes,
        legend,
        note,
    )


def _in_words(axis: Axis, name: str, values: Values, written: Format) -> str:
    known = [(v, p.key) for v, p in zip(values, axis.points, strict=True) if v is not None]
    if not known:
        return "No values."
    (low, at_low), (high, at_high), (last, at_last) = min(known), max(known), known[-1]
    return (
        f"{name[:1].upper()}{name[1:]} from {written(low)} in {at_low} to {written(high)} in "
        f"{at_high}; the last is {written(last)} in {at_last}."
    )


def _with_column(chart: Chart, name: str, texts: Sequence[str]) -> Chart:
    """Return ``chart`` with a further column of its table; an empty text is a dash."""
    rows = tuple(
        replace(
            row,
            texts=(*row.texts, text or "–"),
            said=f"{row.said}, {name}: {text}" if text else row.said,
        )
        for row, text in zip(chart.rows, texts, strict=True)
    )
    return replace(chart, columns=(*chart.columns, name), rows=rows)


def _known(values: Values) -> list[float]:
    return [value for value in values if value is not None]


def _legend(lines: Sequence[Line]) -> list[tuple[str, str]]:
    return [(line.kind, line.label) for line in lines]


def _stretches(axis: Axis, values: Values) -> Iterator[list[tuple[float, float]]]:
    """Yield places and values that follow each other without a gap."""
    run: list[tuple[float, float]] = []
    for x, value in zip(axis.middles, values, strict=True):
        if value is not None:
            run.append((x, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _lines(axis: Axis, scale: Scale, lines: Sequence[Line]) -> Iterator[Shape]:
    for line in reversed(lines):  # the first one is on top
        runs = list(_stretches(axis, line.values))
        yield Shape(line.kind, "".join(_joined(scale, run) for run in runs))
        has_dots = len(axis.points) <= _DOTS_UP_TO
        dotted = runs if has_dots else [run for run in runs if len(run) == 1]
        for run in dotted:
            for x, value in run:
                yield Shape(f"dot {line.kind}", _circle(x, scale.y(value), 2.5))


def _dots(axis: Axis, scale: Scale, kind: str, values: Values) -> Iterator[Shape]:
    for x, value in zip(axis.middles, values, strict=True):
        if value is not None:
            yield Shape(f"dot {kind}", _circle(x, scale.y(value), 3.5))


def _joined(scale: Scale, run: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if n else 'M'}{x:.1f} {scale.y(v):.1f}" for n, (x, v) in enumerate(run))


def _circle(x: float, y: float, radius: float) -> str:
    r = f"{radius:g}"
    return (
        f"M{x - radius:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * radius:g} 0a{r} {r} 0 1 0 {-2 * radius:g} 0z"
    )


def _area(axis: Axis, scale: Scale, low: Values, high: Values) -> Iterator[Shape]:
    """Yield the area between two lines; a partition by itself has a bar."""
    half = min(axis.step, 12.0) / 2
    below, above = list(_stretches(axis, low)), list(_stretches(axis, high))
    for bottom, top in zip(below, above, strict=True):
        if len(bottom) == 1:
            x = bottom[0][0]
            bottom = [(x - half, bottom[0][1]), (x + half, bottom[0][1])]
            top = [(x - half, top[0][1]), (x + half, top[0][1])]
        yield Shape("area", _joined(scale, [*top, *reversed(bottom)]) + "z")


def _bars(
    axis: Axis, scale: Scale, kinds: Sequence[str], stacks: Sequence[Values]
) -> Iterator[Shape]:
    gap = max(0.5, axis.step * 0.12)
    for n in range(len(axis.points)):
        x, base = n * axis.step + gap, 0.0
        for kind, values in zip(kinds, stacks, strict=True):
            value = values[n]
            if not value:
                continue
            bottom, top = scale.y(base), scale.y(base + value)
            top = min(top, bottom - 1)  # never invisible
            width = axis.step - 2 * gap
            yield Shape(kind, f"M{x:.1f} {bottom:.1f}V{top:.1f}h{width:.1f}V{bottom:.1f}z")
            base += value


def _limit(axis: Axis, scale: Scale, limits: Values) -> Iterator[Shape]:
    """Yield a step for each partition at its own limit."""
    d = "".join(
        f"M{n * axis.step:.1f} {scale.y(limit):.1f}h{axis.step:.1f}"
        for n, limit in enumerate(limits)
        if limit is not None
    )
    if d:
        yield Shape("limit", d)
