"""A pattern finds the same names wherever they lie: compared with a real folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from scoring.storage.local import LocalStorage
from scoring.storage.patterns import is_match

NAMES = [
    "a.parquet", "a[1].parquet", "a1.parquet", "a*.parquet", ".a.parquet", "_a.parquet", "b/a.parquet",
    "b/c/a.parquet", "b/.c/a.parquet", ".b/a.parquet", "b/a.csv", "ab.parquet", "A.parquet",
    "b/]a.parquet",
]  # fmt: skip

PATTERNS = [
    "*", "*.parquet", "a?.parquet", "a[1].parquet", "a[0-9].parquet", "[!a]*.parquet", "**", "**/*",
    "**/a.parquet", "b/**", "b/**/a.*", "*/a.parquet", "*/*/a.parquet", ".*", ".*/*", "b/.c/*",
    "a[*].parquet", "[[]*", "a[[]1].parquet", "a**.parquet", "b/[]]*", "[", "a[", "*/[a-b].csv",
    "**/**/a.parquet", "nothing*", "b/**/c/**", "[a-z]*",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_finds_what_it_finds_on_disk(tmp_path: Path, pattern: str):
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    on_disk = [Path(f.uri) for f in LocalStorage().find(f"{tmp_path}/{pattern}")]
    found = [pattern] if pattern in NAMES else [n for n in NAMES if is_match(n, pattern)]
    assert sorted(found) == sorted(p.relative_to(tmp_path).as_posix() for p in on_disk)
