from __future__ import annotations

import pyarrow as pa
import pytest

from scoring.arrow.names import type_name

TEXT = [pa.string(), pa.large_string(), pa.string_view()]


@pytest.mark.parametrize("text", TEXT, ids=str)
def test_text_is_text_however_it_is_stored(text: pa.DataType):
    assert type_name(text) == "text"
    for index in (pa.int8(), pa.int32(), pa.uint64()):
        assert type_name(pa.dictionary(index, text)) == "text"
    assert type_name(pa.run_end_encoded(pa.int32(), text)) == "text"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pa.int8(), "int8"),
        (pa.int64(), "int64"),
        (pa.uint8(), "uint8"),
        (pa.uint64(), "uint64"),
        (pa.float16(), "float16"),
        (pa.float32(), "float32"),
        (pa.float64(), "float64"),
        (pa.bool_(), "boolean"),
        (pa.null(), "nulls only"),
        (pa.date32(), "date"),
        (pa.date64(), "date"),
        (pa.time32("s"), "time of day"),
        (pa.time64("ns"), "time of day"),
        (pa.duration("us"), "duration"),
        (pa.month_day_nano_interval(), "interval"),
        (pa.timestamp("us"), "timestamp without time zone"),
        (pa.timestamp("ns", "UTC"), "timestamp with time zone UTC"),
        (pa.timestamp("ms", "America/New_York"), "timestamp with time zone America/New_York"),
        (pa.timestamp("s", "+02:00"), "timestamp with time zone +02:00"),
        (pa.decimal128(10, 2), "decimal(10, 2)"),
        (pa.decimal256(50, 0), "decimal(50, 0)"),
        (pa.binary(), "bytes"),
        (pa.binary(16), "bytes"),
        (pa.large_binary(), "bytes"),
        (pa.binary_view(), "bytes"),
        (pa.list_(pa.string()), "list of text"),
        (pa.large_list(pa.float64()), "list of float64"),
        (pa.list_view(pa.int8()), "list of int8"),
        (pa.list_(pa.int32(), 3), "list of int32"),
        (pa.list_(pa.list_(pa.dictionary(pa.int8(), pa.string()))), "list of list of text"),
        (pa.struct([("a", pa.int8()), ("b", pa.string())]), "struct of a, b"),
        (pa.struct([]), "struct"),
        (pa.map_(pa.string(), pa.int64()), "map of text to int64"),
        (pa.dense_union([pa.field("a", pa.int8())]), "union"),
        (pa.dictionary(pa.int32(), pa.int64()), "int64"),
        (pa.dictionary(pa.int32(), pa.timestamp("us", "UTC")), "timestamp with time zone UTC"),
        (pa.uuid(), "uuid"),
        (pa.json_(), "json"),
        (pa.bool8(), "bool8"),
    ],
    ids=str,
)
def test_each_type_has_a_name_that_its_owner_knows(kind: pa.DataType, name: str):
    assert type_name(kind) == name


def test_an_extension_of_somebody_else_is_what_it_is_stored_as():
    class Money(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(pa.decimal128(12, 2), "shop.money")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

    assert type_name(Money()) == "decimal(12, 2)"
