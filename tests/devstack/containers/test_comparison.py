"""Months are equal when every byte is; anything else has a line of its own."""

from __future__ import annotations

import json

from rich.console import Console

from devstack.containers.comparison import Month, differences, months_of, table

LAPTOP = {"2013-02": Month(10, "a" * 64), "2013-03": Month(20, "b" * 64)}


def test_what_the_two_places_print_is_read() -> None:
    text = json.dumps({"2013-02": {"rows": 10, "sha256": "a" * 64}})
    assert months_of(text) == {"2013-02": LAPTOP["2013-02"]}


def test_equal_months_differ_in_nothing() -> None:
    assert differences(LAPTOP, dict(LAPTOP)) == []


def test_missing_other_and_foreign_months_are_named() -> None:
    found = {"2013-03": Month(20, "c" * 64), "2013-04": Month(1, "d" * 64)}
    assert differences(LAPTOP, found) == [
        "2013-02 is not published",
        f"2013-03: 20 rows, sha256 {'c' * 16}, on the laptop 20 rows, sha256 {'b' * 16}",
        "2013-04 is published, and is none of the job's months",
    ]


def test_the_table_shows_each_month_of_the_laptop() -> None:
    console = Console(width=120)
    with console.capture() as output:
        console.print(table(LAPTOP, {"2013-02": LAPTOP["2013-02"]}))
    lines = output.get().splitlines()
    assert lines[1].split() == ["2013-02", "10", "a" * 16, "as", "on", "the", "laptop"]
    assert lines[2].split()[-1] == "missing"
