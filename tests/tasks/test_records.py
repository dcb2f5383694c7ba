"""Reading data files, and the messages about bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_megatron.errors import DataError
from reft_megatron.tasks.records import Record, read_records

REMEDY = "Get it there."


def message(path: Path, content: bytes | None) -> str:
    """What reading a file of `content` says, its folder left out."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_records(str(path), REMEDY)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("value", "told"), [("9" * 5000, "4300 digits"), ("[" * 10**6, "maximum recursion depth")]
)
def test_what_python_cannot_hold_is_named(tmp_path: Path, value: str, told: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"id": "a"}}\n{{"answer": {value}}}\n')
    with pytest.raises(DataError, match=rf"a\.jsonl: line 2: cannot be read as JSON: .*{told}"):
        read_records(str(path), "Mend it.")
    path.write_text(f'[{{"answer": {value}}}]\n')
    with pytest.raises(DataError, match=rf"a\.jsonl: cannot be read as JSON: .*{told}"):
        read_records(str(path), "Mend it.")


def test_a_list_and_lines_are_told_apart_by_content(tmp_path: Path) -> None:
    items = [{"question": "a"}, {"question": "b"}]
    as_list, as_lines = tmp_path / "x.jsonl", tmp_path / "x.json"
    as_list.write_text(json.dumps(items))
    as_lines.write_text('{"question": "a"}\n\n{"question": "b"}\n')
    from_list, from_lines = (read_records(str(p), REMEDY) for p in (as_list, as_lines))
    assert [record.fields for record in from_list] == items
    assert [record.fields for record in from_lines] == items
    assert [(record.index, record.place) for record in from_list] == [
        (0, f"{as_list}: item 0"),
        (1, f"{as_list}: item 1"),
    ]
    assert [(record.index, record.place) for record in from_lines] == [
        (0, f"{as_lines}: line 1"),
        (2, f"{as_lines}: line 3"),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "FILE: No such file or directory. Get it there."),
        (b" \n", "FILE: is empty; wanted a JSON list or JSON Lines. Get it there."),
        (b"\xff{}", "FILE: byte 0 is not UTF-8. Get it there."),
        (b"[]", "FILE: is an empty list; wanted items. Get it there."),
        (
            b'[{"a": 1},\n {"a" 2}]',
            "FILE: line 2, column 7: not a JSON list: Expecting ':' delimiter. Get it there.",
        ),
        (b'[{"a": 1}, 7]', "FILE: item 1: is 7; wanted a JSON object. Get it there."),
        (b'"text"', 'FILE: line 1: is "text"; wanted a JSON object. Get it there.'),
        (
            b'{"a": 1}\n{"a"',
            "FILE: line 2, column 5: not a JSON object: Expecting ':' delimiter. Get it there.",
        ),
    ],
)
def test_a_bad_file_is_named_with_the_place(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    assert message(tmp_path / "data.json", content) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"b": "", "a": ""}, "f: line 3: field 'q' is missing; the fields are ['a', 'b']. Ask."),
        ({"q": 5}, "f: line 3: field 'q' is 5; wanted a string. Ask."),
        ({"q": None}, "f: line 3: field 'q' is null; wanted a string. Ask."),
        ({"q": " \n"}, "f: line 3: field 'q' is blank; wanted text. Ask."),
    ],
)
def test_a_bad_field_is_named_with_what_was_seen(fields: dict[str, object], expected: str) -> None:
    record = Record(place="f: line 3", index=2, fields=fields, remedy="Ask.")
    with pytest.raises(DataError) as caught:
        record.text("q")
    assert str(caught.value) == expected


def test_text_is_stripped() -> None:
    record = Record(place="f: line 3", index=2, fields={"q": " How many?\n"}, remedy="Ask.")
    assert record.text("q") == "How many?"
