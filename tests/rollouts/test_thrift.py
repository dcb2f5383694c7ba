"""The compact protocol, on footers that pyarrow wrote."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reft_megatron.rollouts import thrift
from reft_megatron.rollouts.schema import LEDGER


def footer_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content = sink.getvalue().to_pybytes()
    return content[-8 - int.from_bytes(content[-8:-4], "little") : -8]


@pytest.mark.parametrize(
    "table",
    [
        LEDGER.empty_table(),
        pa.table({"text": ["a", None, "c"], "flag": [True, False, None], "number": [1.5, 2, -3]}),
        pa.table({f"column_{number}": [[number], [], None] for number in range(40)}),
    ],
    ids=["ledger", "flat", "many columns"],
)
def test_a_footer_is_written_as_it_was_read(table: pa.Table):
    content = footer_of(table)
    fields = thrift.read(content)
    assert thrift.write(fields) == content
    assert fields[3] == (thrift.I64, table.num_rows)


@pytest.mark.parametrize(
    ("number", "content"),
    [
        (0, b"\0"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (2**32, b"\x80" * 4 + b"\x10"),
    ],
)
def test_numbers_take_seven_bits_a_byte(number: int, content: bytes):
    assert thrift.varint(number) == content


def test_negative_numbers_and_steps_over_many_fields_come_back():
    fields: thrift.Struct = {
        1: (thrift.I32, -1),
        17: (thrift.I64, -(2**40)),
        300: (thrift.LIST, (thrift.I32, [*range(-20, 20)])),
        301: (thrift.LIST, (thrift.BINARY, [b"", b"x" * 200])),
        302: (thrift.LIST, (1, [1, 2])),
    }
    assert thrift.read(thrift.write(fields)) == fields


def test_a_map_is_refused():
    with pytest.raises(ValueError, match="a field of Thrift's type 11"):
        thrift.read(b"\x1b\0\0")
