"""``docs/security.md`` names a test that exists for each threat, or says that nothing stops it."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import REPOSITORY, page

SECURITY = page("docs/security.md")
HEADINGS = [
    heading
    for heading in re.findall(r"^## (.+)$", SECURITY.prose, re.MULTILINE)
    if heading not in ("Who is trusted with what", "To do for production")
]
ROWS = [row for heading in HEADINGS for table in SECURITY.tables(heading) for row in table]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_each_threat_has_its_proof(row: list[str]) -> None:
    _threat, stops, proof = row
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", proof)
    plain = re.search(r"not (stopped|signed|tested)", stops, re.IGNORECASE)
    assert named or plain, "neither a test nor a plain word"
    assert "`".join(proof.split("`")[::2]).strip("` ") == "", "something else than tests"
    for path, name in named:
        assert f"\ndef {name}(" in (REPOSITORY / path).read_text(), f"{path} has no {name}"
