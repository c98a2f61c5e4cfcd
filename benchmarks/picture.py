"""The picture of `peers` and `backfill`: bars, as SVG text, from the figures and nothing else.

``python -m benchmarks picture`` draws it from ``.run/bench/figures.json``, and keeps the figures that it
was drawn from beside the benchmarks, so that anybody can compare the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

FIGURES = Path(__file__).parent / "figures/peers.json"
PICTURE = Path(__file__).resolve().parent.parent / "docs/images/bench.svg"
PARTS = ("peers", "backfill")
MEASURES = {
    "wall_seconds": ("wall time", "s"),
    "cpu_seconds": ("CPU seconds", "s"),
    "all_processes_mb": ("memory of all processes", "MB"),
}
BUSY = 0.5  # processes that ran before the start: the times are not only those of the programs
NAMES, PANEL, BAR, ROW, WIDTH = 250, 225, 145, 26, 950
# A background of its own: the page may be dark where the reader's system is light.
STYLE = """
  svg { font: 14px system-ui, sans-serif }
  .paper { fill: #ffffff; stroke: #d0d7de } text { fill: #1f2328 } .quiet { fill: #59636e }
  .ours { fill: #0969da } .peer { fill: #afb8c1 } .bold { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; stroke: #3d444d } text { fill: #f0f6fc } .quiet { fill: #9198a1 }
    .ours { fill: #4493f8 } .peer { fill: #656c76 }
  }
"""


def run(figures_file: Path) -> None:
    """Draw the picture from ``figures_file``, and write both that are committed."""
    measured = json.loads(figures_file.read_text(encoding="utf-8"))
    missing = [part for part in PARTS if part not in measured]
    if missing:
        raise SystemExit(f"error: {figures_file} has no figures of: {', '.join(missing)}")
    figures = {part: measured[part] for part in PARTS}
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    PICTURE.write_text(draw(figures), encoding="utf-8")


def draw(figures: Mapping[str, Any]) -> str:
    """Return the SVG; the same figures give the same text."""
    y, parts = 16, []
    for part in PARTS:
        parts += list(_section(y, _title(part, figures[part]), figures[part]["programs"]))
        y += 62 + ROW * len(figures[part]["programs"])
    parts.append(_text(20, y + 14, _how(figures), "quiet"))
    height = y + 30
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="t d">',
            '<title id="t">Time, CPU and memory beside other tools</title>',
            f'<desc id="d">{escape(_description(figures))}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="paper" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _section(y: int, title: str, programs: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield _text(20, y + 16, title, "bold")
    for column, (measure, (name, unit)) in enumerate(MEASURES.items()):
        x = 20 + NAMES + column * PANEL
        yield _text(x, y + 40, f"{name}, {unit}", "quiet")
        most = max(figures[measure] for figures in programs.values())
        for row, (program, figures) in enumerate(programs.items()):
            top, value = y + 50 + row * ROW, figures[measure]
            kind = "peer" if row else "ours"
            length = max(1.0, BAR * value / most)
            yield f'<rect class="{kind}" x="{x}" y="{top}" width="{length:.1f}" height="18" rx="2"/>'
            yield _text(x + length + 6, top + 14, _number(value), "" if row else "bold")
            if column == 0:
                yield _text(20, top + 14, program, "" if row else "bold")


def _title(part: str, figures: Mapping[str, Any]) -> str:
    if part == "peers":
        return f"{figures['rows']:,} real flights in twelve files: read, predict, write"
    return f"{figures['months']} months of flights, from the command to the last month written"


def _how(figures: Mapping[str, Any]) -> str:
    machines = [figures[part]["machine"] for part in PARTS]
    dates = " and ".join(dict.fromkeys(machine["date"] for machine in machines))
    cores, python = machines[0]["cores"], machines[0]["python"]
    busy = any(machine["load_before"][0] > BUSY for machine in machines)
    beside = ", while other work shared the machine" if busy else ""
    once = " (one round of the months)" if len(figures["backfill"]["rounds"]) == 1 else ""
    return f"Shorter is better. Medians{once}, {cores} cores, Python {python}, {dates}{beside}."


def _description(figures: Mapping[str, Any]) -> str:
    found = []
    for part in PARTS:
        found.append(f"{_title(part, figures[part])}:")
        for program, of in figures[part]["programs"].items():
            values = [
                f"{name} {_number(of[measure])} {unit}"
                for measure, (name, unit) in MEASURES.items()
            ]
            found.append(f"{program}: {', '.join(values)}.")
    return " ".join([*found, _how(figures)])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}">{escape(text)}</text>'
