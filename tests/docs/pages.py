"""The project's pages as data: their code blocks, code spans, links and headings.

A comment before a fenced block says what a test does with it: ``<!-- test: NAME -->`` (it is run)
or ``<!-- output: NAME -->`` (what the blocks of that name print; ``…`` stands for anything).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block; ``mark`` is ``("test", NAME)``, ``("output", NAME)`` or None."""

    line: int
    language: str
    mark: tuple[str, str] | None
    text: str


@dataclass(frozen=True)
class Page:
    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(REPOSITORY))

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def blocks(self) -> list[Block]:
        found, mark, start, fence = [], None, 0, ""
        lines: list[str] = []
        for number, line in enumerate(self.text.splitlines(), 1):
            stripped = line.strip()
            if fence:
                if stripped == "```":
                    found.append(Block(start, fence, mark, "\n".join(lines) + "\n"))
                    fence, mark, lines = "", None, []
                else:
                    lines.append(line)
            elif stripped.startswith("```"):
                fence, start = stripped.removeprefix("```") or "none", number
            elif comment := re.fullmatch(r"<!-- (test|output): ([a-z-]+) -->", stripped):
                mark = (comment[1], comment[2])
        assert not fence, f"{self.name}, line {start}: the block has no end"
        return found

    @cached_property
    def prose(self) -> str:
        """The text without its fenced blocks; every line keeps its number."""
        kept, inside = [], False
        for line in self.text.splitlines():
            fence = line.strip().startswith("```")
            kept.append("" if inside or fence else line)
            inside ^= fence
        return "\n".join(kept)

    @property
    def spans(self) -> list[str]:
        """What stands between single backticks."""
        return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]

    @property
    def links(self) -> list[str]:
        without_code = re.sub(r"`[^`]*`", "", self.prose)
        return re.findall(r"\]\(([^)\s]+)\)", without_code)

    @property
    def anchors(self) -> set[str]:
        """The fragments that headings can be linked by, as GitHub makes them."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        slugs = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
        return {slug.replace(" ", "-") for slug in slugs}

    def tables(self, heading: str) -> list[list[list[str]]]:
        """The tables between ``heading`` and the next one: rows of cells, without the header."""
        section = re.search(
            rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", self.prose, re.MULTILINE | re.DOTALL
        )
        assert section, f"{self.name} has no heading {heading!r}"
        found = re.findall(r"(?:^\|.*\|\n)+", section[1] + "\n", re.MULTILINE)
        return [
            [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]
            for table in ("\n".join(f.splitlines()[2:]) for f in found)
        ]


def page(name: str) -> Page:
    return Page(REPOSITORY / name)


PAGES = [
    *(page(name) for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(Page(path) for path in sorted((REPOSITORY / "docs").rglob("*.md"))),
]
