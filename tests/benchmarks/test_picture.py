"""The picture of the benchmarks shows the figures that lie beside them, and says them in words."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from benchmarks import picture

FIGURES: dict[str, Any] = json.loads(picture.FIGURES.read_text(encoding="utf-8"))


def test_the_picture_is_drawn_from_the_figures_beside_it() -> None:
    assert picture.PICTURE.read_text(encoding="utf-8") == picture.draw(FIGURES)


def test_it_has_a_title_a_description_and_colours_for_dark_pages() -> None:
    root = ElementTree.fromstring(picture.draw(FIGURES))
    space = "{http://www.w3.org/2000/svg}"
    texts = {name: root.findtext(f"{space}{name}") or "" for name in ("title", "desc", "style")}
    assert root.get("role") == "img"
    assert texts["title"]
    assert "prefers-color-scheme: dark" in texts["style"]
    for part in picture.PARTS:
        for program in FIGURES[part]["programs"]:
            assert f"{program}: wall time " in texts["desc"]


def test_bars_are_as_long_as_the_figures() -> None:
    figures = json.loads(json.dumps(FIGURES))
    programs = figures["peers"]["programs"]
    for number, of in enumerate(programs.values(), 1):
        of["wall_seconds"] = number / len(programs) * 10
    root = ElementTree.fromstring(picture.draw(figures))
    bars = [r for r in root.iter() if r.get("class") in ("ours", "peer") and r.get("x") == "270"]
    lengths = [float(bar.get("width") or 0) for bar in bars[: len(programs)]]
    assert lengths == [
        round(picture.BAR * number / len(programs), 1) for number in range(1, len(programs) + 1)
    ]
