"""The prose of all tracked text files: no unidiomatic phrases (see CONTRIBUTING.md)."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".md", ".py", ".yaml", ".yml", ".toml", ".json", ".txt", ""}
"""Suffixes of text files; without one: Makefile, Dockerfile, .gitignore and the like."""

EXEMPT = {
    "CHANGELOG.md",  # quotes old names
    "LICENSE",
    "requirements.txt",  # the lock files
    "requirements-dev.txt",
    "tests/packaging/requirements-oldest.txt",
    "tests/docs/test_docs_prose.py",
}

PHRASES = {
    r"\banew\b": "again, from the start",
    r"\bfor ever\b": "forever, without end",
    r"\bto and fro\b": "back and forth",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bwhoever\b": "a reader, a writer, anybody who",
    r"\btold\b(?! apart)": "reported, shown",
    r"\bbeforehand\b": "in advance",
    r"\bheld against\b": "compared with, checked against",
    # A decision's heading, and its file name, keep it.
    r"\bvouche[sd] for\b(?! a model\n)": "pins, trusts",
    # With no verb after it: "a job that Airflow has not."
    r"\b(has|have) not(?=\s*([.,;:)\"]|$))": "does not have, has no …",
    # "There is no file" and "is no longer" are English.
    r"(?<!there\s)\b(is|are)\s+no\s+(?!(longer|more|such|less|one)\b)(?=[a-z])": "is not a",
}
PATTERN = re.compile("|".join(f"(?:{phrase})" for phrase in PHRASES), re.IGNORECASE)


def findings(text: str) -> list[tuple[int, str]]:
    """Return line and text of each phrase; names of functions are read as words."""
    # An underscore is a letter to \b. Each line keeps its length and number.
    words = text.replace("_", " ")
    return [
        (words.count("\n", 0, found.start()) + 1, found[0]) for found in PATTERN.finditer(words)
    ]


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in done.stdout.split("\0") if name and name not in EXEMPT]
    return [ROOT / name for name in names if Path(name).suffix in TEXT and (ROOT / name).is_file()]


def test_no_file_has_a_phrase_to_avoid() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {phrase!r}"
        for path in tracked()
        for line, phrase in findings(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(["avoid:", *found, "instead:", *map(str, PHRASES.items())])


@pytest.mark.parametrize(
    "text",
    [
        "begins anew",
        "for ever",
        "to and fro",
        "until it is mended",
        "Whoever reads it",
        "is told what to do",
        "def test_a_bad_key_is_told(",
        "known beforehand",
        "held against a limit",
        "the job vouches for it",
        "a column that it has not.",
        "a column that\nit has not",
        "this is no error",
        "def test_rows_are_no_duplicates(",
    ],
)
def test_a_phrase_is_found(text: str) -> None:
    assert findings(text)


@pytest.mark.parametrize(
    "text",
    [
        "for every month",
        "amended",
        "recommended",
        "it has not started",
        "rows have not been read",
        "There is no file",
        "that is no longer there",
        "cannot be told apart",
    ],
)
def test_plain_english_is_not_found(text: str) -> None:
    assert not findings(text)
