"""Links lead somewhere, and the files that the pages name are there."""

from __future__ import annotations

import re

import pytest

from scoring.destinations import layout as destination
from tests.docs.pages import PAGES, REPOSITORY, Page, page

IN_THE_REPOSITORY = (
    ".ci", "benchmarks", "dags", "devstack", "docs", "examples", "plugins", "scoring", "tests",
)  # fmt: skip


@pytest.mark.parametrize("of", PAGES, ids=lambda p: p.name)
def test_links(of: Page) -> None:
    for link in of.links:
        if link.startswith("https://"):
            continue
        path, _, fragment = link.partition("#")
        target = (of.path.parent / path).resolve() if path else of.path
        assert target.exists(), f"{of.name} links to {link}"
        if fragment:
            assert fragment in Page(target).anchors, f"{of.name} links to {link}"


@pytest.mark.parametrize("of", PAGES, ids=lambda p: p.name)
def test_files_that_are_named(of: Page) -> None:
    for span in of.spans:
        if re.fullmatch(r"[\w.\-]+(/[\w.\-*]*)+", span) and span.split("/")[0] in IN_THE_REPOSITORY:
            assert list(REPOSITORY.glob(span.rstrip("/"))), f"{of.name} names {span}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [page("README.md").path]
    while waiting:
        path = waiting.pop()
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        for link in Page(path).links:
            target = (path.parent / link.partition("#")[0]).resolve()
            waiting += sorted(target.glob("*.md")) if target.is_dir() else [target]
    assert {p.path for p in PAGES} <= reached


def test_decisions_are_numbered_and_have_the_same_parts() -> None:
    decisions = sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
    for number, path in enumerate(decisions, 1):
        assert path.name.startswith(f"{number:04d}-")
        text = path.read_text()
        assert text.startswith(f"# {number}. ")
        parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences"], path.name


def test_modules_of_the_library_are_all_described() -> None:
    (table,) = page("docs/architecture.md").tables("The modules of `scoring/`")
    described = {name for row in table for name in re.findall(r"`(\w+)`", row[0])}
    modules = {path.stem for path in (REPOSITORY / "scoring").glob("*.py")}
    assert described == {name for name in modules if not name.startswith("__")}


def test_the_tree_of_a_destination_is_that_of_the_code() -> None:
    tree = [line[4:] for line in (destination.__doc__ or "").splitlines() if "DESTINATION/" in line]
    blocks = page("docs/architecture.md").blocks
    assert "\n".join(tree) + "\n" in [block.text for block in blocks]
