"""Tests of what all pages share."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from reft_megatron.log.page import Image, images, write_page
from reft_megatron.log.pictures import PICTURES


def test_values_are_escaped_and_no_temporary_file_stays(tmp_path: Path):
    path = tmp_path / "new" / "page.html"
    write_page(path, "page.html", {"title": "<script>alert('x')</script> & co"})
    text = path.read_text()
    assert "<title>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; co</title>" in text
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_a_missing_value_is_an_error_and_leaves_the_old_page(tmp_path: Path):
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(UndefinedError):
        write_page(path, "page.html", {})
    assert path.read_text() == "old"


def test_an_image_travels_inside_the_page():
    image = Image(key="kl", title="KL", caption="Read it.", png=b"\x89PNG bytes")
    kind, _, data = image.uri.partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == b"\x89PNG bytes"


def test_only_pictures_with_data_become_images():
    drawn = images(PICTURES, {"train/loss": ([1, 2], [2.0, 1.0])})
    assert [image.key for image in drawn] == ["training"]
