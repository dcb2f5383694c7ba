"""Tests of what all pages share."""

from __future__ import annotations

import base64
import hashlib
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


def test_a_page_knows_the_size_of_its_images():
    image = images(PICTURES, {"train/loss": ([1, 2], [2.0, 1.0])})[0]
    assert image.size == (1300, 442)


def test_a_browser_is_told_to_run_nothing_and_to_fetch_nothing(tmp_path: Path):
    write_page(tmp_path / "page.html", "page.html", {"title": "none"})
    text = (tmp_path / "page.html").read_text()
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'\">" in text
    assert "<script" not in text


def test_only_the_pages_own_script_may_run(tmp_path: Path):
    (tmp_path / "own.js").write_text('"use strict";')
    values = {"title": "one"}
    write_page(tmp_path / "page.html", "page.html", values, folder=tmp_path, script="own.js")
    text = (tmp_path / "page.html").read_text()
    code = text.partition("<script>")[2].partition("</script>")[0]
    assert code == '"use strict";'
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert text.count("<script") == 1
    assert f"; script-src 'sha256-{digest}'\">" in text


def test_only_pictures_with_data_become_images():
    drawn = images(PICTURES, {"train/loss": ([1, 2], [2.0, 1.0])})
    assert [image.key for image in drawn] == ["training"]
