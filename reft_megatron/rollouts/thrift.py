"""Thrift's compact protocol, as far as the metadata of a Parquet file takes it.

A struct is read as `{number: (type, value)}` and written again with what was changed in it; no
definition of its fields is needed. Format: github.com/apache/thrift,
doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["BINARY", "I32", "I64", "LIST", "STRUCT", "Struct", "read", "varint", "write"]

Struct = dict[int, tuple[int, Any]]
"""(type, value) of each field by its number; a list's value is (type of its elements, elements)."""

_TRUE, _FALSE, _BYTE, _I16, I32, I64, _DOUBLE, BINARY, LIST, _SET, _MAP, STRUCT = range(1, 13)
_LONG = 15
"""In the place of a small number: it follows by itself."""


def read(content: bytes) -> Struct:
    """The struct that `content` begins with; ValueError for maps, which Parquet does not have."""
    return _Reader(content).struct()


def write(fields: Struct) -> bytes:
    """The bytes of a struct."""
    out = bytearray()
    last = 0
    for number, (type_, value) in sorted(fields.items()):
        step = number - last
        out += bytes([step << 4 | type_]) if 0 < step <= _LONG else bytes([type_]) + _zigzag(number)
        out += _value(type_, value)
        last = number
    return bytes(out) + b"\0"


def varint(number: int) -> bytes:
    """A number of 0 or more, seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _zigzag(number: int) -> bytes:
    return varint(2 * number if number >= 0 else -2 * number - 1)


def _value(type_: int, value: Any) -> bytes:
    if type_ in (_TRUE, _FALSE):  # the type of a field is its value
        return b""
    if type_ in (_I16, I32, I64):
        return _zigzag(value)
    if type_ == BINARY:
        return varint(len(value)) + bytes(value)
    if type_ in (LIST, _SET):
        element, values = value
        count = len(values)
        head = bytes([min(count, _LONG) << 4 | element])
        head += varint(count) if count >= _LONG else b""
        return head + b"".join(_element(element, one) for one in values)
    return write(value) if type_ == STRUCT else bytes(value)


def _element(type_: int, value: Any) -> bytes:
    return bytes([value]) if type_ in (_TRUE, _FALSE) else _value(type_, value)


class _Reader:
    """Reads from a place in some bytes on."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while head := self._byte():
            step, type_ = head >> 4, head & _LONG
            number = number + step if step else self._signed()
            fields[number] = (type_, self._read(type_))
        return fields

    def _read(self, type_: int) -> Any:
        kinds: dict[int, Callable[[], Any]] = {
            _TRUE: lambda: True,
            _FALSE: lambda: False,
            _BYTE: lambda: self._bytes(1),
            _I16: self._signed,
            I32: self._signed,
            I64: self._signed,
            _DOUBLE: lambda: self._bytes(8),
            BINARY: lambda: self._bytes(self._unsigned()),
            LIST: self._list,
            _SET: self._list,
            STRUCT: self.struct,
        }
        if type_ not in kinds:
            raise ValueError(f"a field of Thrift's type {type_}, which Parquet's metadata has not.")
        return kinds[type_]()

    def _list(self) -> tuple[int, list[Any]]:
        head = self._byte()
        count, type_ = head >> 4, head & _LONG
        count = self._unsigned() if count == _LONG else count
        if type_ in (_TRUE, _FALSE):
            return type_, [self._byte() for _ in range(count)]
        return type_, [self._read(type_) for _ in range(count)]

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        return self._content[self._at - count : self._at]

    def _unsigned(self) -> int:
        number, shift, more = 0, 0, True
        while more:
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            shift, more = shift + 7, byte > 0x7F
        return number

    def _signed(self) -> int:
        number = self._unsigned()
        return number >> 1 ^ -(number & 1)
