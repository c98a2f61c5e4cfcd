from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

from scoring.errors import SourceError
from scoring.sources.rechunk import check_columns, rechunked


def test_tables_are_cut_to_the_sizes_asked_for():
    pieces = [pa.table({"x": part}) for part in ([1, 2, 3], pa.array([], pa.int64()), [4, 5])]
    cut = list(rechunked(iter(pieces), itertools.cycle([2, 1]), "here"))
    assert [table["x"].to_pylist() for table in cut] == [[1, 2], [3], [4, 5]]


def test_without_rows_there_is_one_empty_table():
    (table,) = rechunked(iter([pa.table({"x": pa.array([], pa.int8())})]), iter([5]), "here")
    assert (table.num_rows, table.schema) == (0, pa.schema({"x": pa.int8()}))


def test_types_that_cannot_be_one_are_an_error_that_says_where():
    pieces = iter([pa.table({"x": [1]}), pa.table({"x": ["a"]})])
    with pytest.raises(
        SourceError, match=r"^here: the column 'x' comes in different types, int64 and text"
    ):
        list(rechunked(pieces, itertools.repeat(2), "here"))


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (["id", "z"], r"here has no column 'x'; it has id, z"),
        (["id", "x", "x"], "here has more than one column 'x'"),
    ],
)
def test_columns_that_are_not_there_exactly_once_are_named(present: list[str], expected: str):
    with pytest.raises(SourceError, match=expected):
        check_columns("here", ["id", "x"], present)


def test_columns_that_nobody_asked_for_may_be_there_twice():
    check_columns("here", ["id"], ["z", "id", "z"])


def test_the_names_of_a_source_cannot_fill_or_forge_a_message():
    with pytest.raises(SourceError) as error:
        check_columns("a.csv", ["x"], ["y\nERROR - \x1b[2J", "z" * 1_000_000])
    message = str(error.value)
    assert message.startswith("a.csv has no column 'x'; it has y\\nERROR - \\x1b[2J, zzz")
    assert "… (1,000,016 characters). Correct the names" in message
    assert len(message) < 1200
