"""Tests of the page in a real browser: Chromium, without a screen."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.log.test_report import Page


@pytest.fixture(scope="session")
def browser() -> str:
    """The command REFT_BROWSER, which must be there if it is named, or a Chromium on the path."""
    named = os.environ.get("REFT_BROWSER")
    found = shutil.which(named) if named else shutil.which("chromium") or shutil.which("chrome")
    if found is None:
        if named:
            pytest.fail(f"REFT_BROWSER={named} is not on the path")
        pytest.skip("no Chromium on the path: install one, or name it in REFT_BROWSER")
    return found


class Seen(Page):
    """A page as the browser made it: what is shown in its sample of completions."""

    def __init__(self, path: Path) -> None:
        self.articles = 0
        self.answers: list[tuple[str, list[str]]] = []
        self.found = ""
        self.form_hidden = False
        self._hidden = self._output = False
        super().__init__(path)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        given = dict(attrs)
        self._output = tag == "output"
        if tag == "form":
            self.form_hidden = "hidden" in given
        if tag == "article":
            self._hidden = "hidden" in given
            self.articles += not self._hidden
        elif given.get("class") == "answer" and not self._hidden and "hidden" not in given:
            filters = (given["data-filters"] or "").split()
            self.answers.append((given["data-method"] or "", filters))

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if self._output:
            self.found, self._output = data, False


def opened(browser: str, page: Path, folder: Path, *, view: str) -> Seen:
    """The page as it is after its script ran."""
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
        f"--user-data-dir={folder / 'profile'}", "--dump-dom", f"{page.as_uri()}#{view}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    dump = folder / "dump.html"
    dump.write_bytes(done.stdout)
    return Seen(dump)


def test_a_page_opens_with_some_problems_and_nothing_of_a_model_runs(
    browser: str, page: Path, tmp_path: Path
):
    seen = opened(browser, page, tmp_path, view="")
    assert (seen.articles, seen.tags.count("article")) == (30, 40)
    assert seen.found.endswith(" of 40 problems, 30 shown")
    assert "owned" not in seen.text[0], "the title"
    assert not seen.form_hidden
    assert Seen(page).form_hidden, "without the script there is nothing to filter with"


@pytest.mark.parametrize("view", ["wrong", "errors", "faults", "disagree"])
def test_a_filter_shows_what_it_says(browser: str, page: Path, tmp_path: Path, view: str):
    seen = opened(browser, page, tmp_path, view=view)
    whole = Seen(page)
    fitting = [answer for answer in whole.answers if view in answer[1]]
    assert all(view in filters for _, filters in seen.answers)
    assert 0 < len(seen.answers) <= len(fitting) < len(whole.answers)
    assert seen.found.startswith(f"{len(fitting)} completions of ")
    assert "owned" not in seen.text[0]


def test_method_and_words_narrow_it_down(browser: str, page: Path, tmp_path: Path):
    seen = opened(browser, page, tmp_path, view="all&method=ReFT&search=Dan+has+17+pears")
    assert seen.articles == 1
    assert {method for method, _ in seen.answers} == {"ReFT"}
    assert seen.found == f"{len(seen.answers)} completions of 1 problems"


def test_words_of_an_answer_show_that_answer_alone(browser: str, page: Path, tmp_path: Path):
    """And not a problem for what another method said of it."""
    seen = opened(browser, page, tmp_path, view="wrong&method=ReFT&search=while++TRUE:")
    told = [text for text in seen.text if "while True" in text]
    assert 0 < len(seen.answers) < len(told), "texts that are hidden are in the page too"
    assert all(method == "ReFT" and "faults" in filters for method, filters in seen.answers)
