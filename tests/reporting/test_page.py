"""The page: escaped, whole in one file, and in a browser sorted, printed and free of complaints."""

from __future__ import annotations

import base64
import builtins
import hashlib
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rlkit.errors import UsageError
from rlkit.reporting.page import render
from rlkit.reporting.parts import Section, make_table
from rlkit.reporting.report import report
from tests.reporting.conftest import HOSTILE

OpenPage = Callable[..., Any]


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(_compared: Path, hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    return report([_compared, hostile], out)


@pytest.fixture(scope="module")
def tags(page: Path) -> Tags:
    return Tags(page.read_text())


def test_every_link_leads_to_a_place_in_the_page_and_every_id_is_used_once(tags: Tags) -> None:
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] or "" for attributes in tags.all("a")]
    assert len(links) >= 3
    assert {link.removeprefix("#") for link in links} <= set(ids)
    named = [a["aria-labelledby"] or "" for _, a in tags.tags if "aria-labelledby" in a]
    assert {one for names in named for one in names.split()} <= set(ids)


def test_nothing_is_loaded_from_elsewhere(tags: Tags) -> None:
    for _, attributes in tags.tags:
        for name in ("src", "srcset", "href", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (name, value)


def test_names_cannot_become_tags(page: Path, tags: Tags) -> None:
    assert len(tags.all("script")) == 1
    assert all("onerror" not in attributes for _, attributes in tags.tags)
    text = page.read_text()
    assert HOSTILE not in text
    assert text.count("&lt;img src=x onerror=") > 5


def test_only_the_script_and_style_of_the_page_are_allowed(page: Path, tags: Tags) -> None:
    text = page.read_text()
    policy = next(a["content"] or "" for a in tags.all("meta") if "http-equiv" in a)
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert all("style" not in attributes for _, attributes in tags.tags)


def test_control_characters_and_broken_text_reach_no_page() -> None:
    section = Section("a\x1b[31m\x00b", "run", "q\ud800", ["v"], id="s1")
    section.tables = [make_table("t", ["c"], [("\x07",)])]
    text = render("t", [section])
    assert not set("\x00\x07\x1b\ud800") & set(text)
    assert "a\\x1b[31m\\x00b" in text


def test_without_jinja2_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "jinja2":
            raise ImportError("No module named 'jinja2'")
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r'pip install "rlkit\[report\]"'):
        render("t", [])


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture
def shown(page: Path, open_page: OpenPage) -> Iterator[Any]:
    """The page, about which nothing may be complained at the end."""
    watched = open_page(page)
    yield watched.page
    assert watched.complaints == []
    assert watched.requests == [page.as_uri()]


def test_a_table_is_sorted_by_keyboard_and_says_how(shown: Any) -> None:
    table = shown.locator("table", has=shown.locator("caption", has_text="Each seed")).first
    button = table.locator("th button", has_text="learner")
    button.focus()
    head = table.locator("thead th").nth(1)

    def keys() -> list[float]:
        return [
            float(x)
            for x in table.locator("tbody td:nth-child(2)").evaluate_all(
                "cells => cells.map(cell => cell.dataset.key)"
            )
        ]

    shown.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert keys() == sorted(keys())
    shown.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert keys() == sorted(keys(), reverse=True)
    assert table.locator("[aria-sort]").count() == 1


def test_numbers_are_sorted_by_value_and_unknown_ones_last(
    open_page: OpenPage, tmp_path: Path
) -> None:
    rows = [("a", 10), ("b", 9.5), ("c", None), ("d", -3), ("e", 1e9)]
    section = Section("t", "run", "q", ["v"], id="s1")
    section.tables = [make_table("numbers", ["name", "value"], rows)]
    (tmp_path / "t.html").write_text(render("t", [section]))
    page = open_page(tmp_path / "t.html").page
    button = page.locator("th button").nth(1)
    orders = []
    for _ in range(2):
        button.click()
        orders.append("".join(page.locator("tbody th").all_text_contents()))
    assert orders == ["dbaec", "eabdc"]


def test_the_first_tab_skips_to_the_results_and_focus_is_seen(shown: Any) -> None:
    shown.keyboard.press("Tab")
    focused = shown.locator(":focus")
    assert focused.text_content() == "Skip to the results"
    assert focused.bounding_box()["x"] >= 0  # it is on the screen now
    assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    shown.keyboard.press("Enter")
    assert shown.evaluate("document.activeElement.id") == "main"


def test_colours_follow_the_reader_and_paper_is_white(page: Path, open_page: OpenPage) -> None:
    paint = "getComputedStyle(document.body).backgroundColor"
    line = "getComputedStyle(document.querySelector('svg.chart .line')).stroke"
    seen = {}
    for scheme in ("light", "dark"):
        shown = open_page(page, color_scheme=scheme).page
        seen[scheme] = shown.evaluate(paint), shown.evaluate(line)
        shown.emulate_media(media="print", color_scheme=scheme)
        assert shown.evaluate(paint) == "rgb(255, 255, 255)"
    assert seen["light"][0] == "rgb(255, 255, 255)"
    assert seen["dark"][0] == "rgb(17, 22, 27)"
    assert seen["light"][1] != seen["dark"][1]


def test_a_narrow_page_scrolls_only_inside_its_tables(page: Path, open_page: OpenPage) -> None:
    shown = open_page(page, width=400).page
    assert shown.evaluate("document.documentElement.scrollWidth") == 400


def test_a_page_that_must_not_move_shows_still_pictures(page: Path, open_page: OpenPage) -> None:
    for motion, kind in (("reduce", "png"), ("no-preference", "gif")):
        shown = open_page(page, reduced_motion=motion).page
        source = shown.locator(".film img").first.evaluate("image => image.currentSrc")
        assert source.startswith(f"data:image/{kind}")


def test_everything_is_printed_also_what_is_folded(page: Path, open_page: OpenPage) -> None:
    shown = open_page(page).page
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.locator("details:not([open])").count() == 0
    shown.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shown.locator("details[open]").count() == 0
    assert shown.pdf()[:5] == b"%PDF-"
