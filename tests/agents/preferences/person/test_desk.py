"""The page of a person: who may ask and answer, and what keys and buttons do in a browser."""

from __future__ import annotations

import json
import queue
import re
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest

from rlkit.agents.preferences.person.desk import Desk
from rlkit.agents.preferences.person.pictures import png_of

SIDE = {
    "pictures": [],
    "columns": ["action", "observation"],
    "rows": [[0, 0.12345678], [None, 1e-9]],
    "steps": 1,
    "terminated": True,
}
OTHER = {**SIDE, "steps": 2, "terminated": False}


def content(question: str, **more: Any) -> dict[str, Any]:
    shown = {"segments": [SIDE, OTHER], "answered": 0, "total": 3, "undo": False}
    return {"question": question, **shown, **more}


@pytest.fixture
def desk() -> Iterator[Desk]:
    one = Desk()
    yield one
    one.close()


def ask(desk: Desk, method: str, path: str, body: bytes = b"", **headers: str) -> int:
    """The status of the reply; `_` in the name of a header stands for `-`."""
    connection = HTTPConnection("127.0.0.1", desk.port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    status = connection.getresponse().status
    connection.close()
    return status


def path(desk: Desk, name: str = "") -> str:
    return desk.address.partition(f":{desk.port}")[2] + name


def send(desk: Desk, question: str, answer: str, **headers: str) -> int:
    body = json.dumps({"question": question, "answer": answer}).encode()
    given = {"Content_Type": "application/json", **headers}
    return ask(desk, "POST", path(desk, "answer"), body, **given)


@pytest.mark.parametrize(
    ("answer", "expected"), [("left", 1.0), ("right", 0.0), ("equal", 0.5), ("undo", "undo")]
)
def test_an_answer_arrives(desk: Desk, answer: str, expected: object) -> None:
    desk.show(content("a"))
    assert send(desk, "a", answer) == 200
    assert desk.wait(lambda: False) == expected


def test_an_answer_to_another_question_or_a_second_one_is_not_taken(desk: Desk) -> None:
    assert send(desk, "a", "left") == 409  # nothing is asked yet
    desk.show(content("a"))
    assert send(desk, "b", "left") == 409
    assert send(desk, "a", "middle") == 409
    assert send(desk, "a", "right") == 200
    assert send(desk, "a", "left") == 409
    assert desk.wait(lambda: False) == 0.0


def test_only_who_knows_the_token_and_this_machine_s_name_gets_in(desk: Desk) -> None:
    desk.show(content("a"))
    assert ask(desk, "GET", path(desk)) == 200
    assert ask(desk, "GET", "/") == 404
    assert ask(desk, "GET", "/wrong/question") == 404
    assert ask(desk, "GET", path(desk, "other")) == 404
    # Another site whose name leads to 127.0.0.1, and a page of another site.
    assert ask(desk, "GET", path(desk, "question"), Host="evil.example") == 403
    assert send(desk, "a", "left", Origin="http://evil.example") == 403
    assert send(desk, "a", "left", Content_Type="text/plain") == 400
    assert send(desk, "a", "left", Host=f"localhost:{desk.port}") == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"question": "a"}', b" " * 2000])
def test_what_is_no_answer_changes_nothing(desk: Desk, body: bytes) -> None:
    desk.show(content("a"))
    code = ask(desk, "POST", path(desk, "answer"), body, Content_Type="application/json")
    assert code in (400, 409)
    assert desk.shown()["question"] == "a"


def test_waiting_ends_when_the_run_is_stopped(desk: Desk) -> None:
    desk.show(content("a"))
    assert desk.wait(lambda: 2) is None


def test_tokens_are_new_each_time(desk: Desk) -> None:
    other = Desk()
    assert path(other) != path(desk)
    assert len(path(desk)) >= 24
    other.close()


# --- in a browser ---------------------------------------------------------------------------------


class Person:
    """Shows contents one after another and keeps the answers."""

    def __init__(self, desk: Desk, contents: list[dict[str, Any]]) -> None:
        self.answers: queue.Queue[Any] = queue.Queue()
        self._desk, self._contents = desk, contents
        self._ended = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        for one in self._contents:
            self._desk.show(one)
            answer = self._desk.wait(lambda: self._ended)
            if answer is None:
                return
            self.answers.put(answer)
        self._desk.show({"waiting": True})

    def end(self) -> None:
        self._ended = True
        self._thread.join(10)


def test_keys_and_buttons_answer_and_the_page_says_how_far_it_is(
    desk: Desk, open_page: Callable[..., Any]
) -> None:
    contents = [content(str(i), answered=i, total=6, undo=i > 0) for i in range(6)]
    person = Person(desk, contents)
    watched = open_page(desk.address)
    page = watched.page
    page.wait_for_selector("#question:not([hidden])")
    assert page.locator("[data-answer=undo]").is_disabled()
    page.keyboard.press("u")  # there is nothing to take back
    assert page.locator("#state").text_content() == "Question 1 of 6. Each answer is saved at once."
    assert "1 step; then the episode was over" in page.locator(".side").first.text_content()
    numbers = page.locator(".side").nth(1).locator("td").all_text_contents()
    assert numbers == ["0", "0.1235", "", "1e-9"]
    steps: list[tuple[Callable[[], Any], object]] = [
        (lambda: page.keyboard.press("ArrowLeft"), 1.0),
        (lambda: page.keyboard.press("ArrowRight"), 0.0),
        (lambda: page.keyboard.press("ArrowDown"), 0.5),
        (lambda: page.keyboard.press("u"), "undo"),
        (lambda: page.get_by_role("button", name="Right is better").click(), 0.0),
        (lambda: page.locator("[data-answer=undo]").press("Enter"), "undo"),
    ]
    for i, (act, expected) in enumerate(steps):
        page.get_by_text(f"Question {i + 1} of 6").wait_for()
        act()
        assert person.answers.get(timeout=10) == expected
    page.get_by_text("Thank you. The training goes on").wait_for()
    assert not page.locator("#question").is_visible()
    assert watched.complaints == []
    desk.close()
    page.get_by_text("The command has ended or cannot be reached").wait_for()
    person.end()
    # Which of its errors the browser names depends on when the server closed the connection.
    unreachable = re.compile(r"Failed to load resource: net::ERR_\w+$")
    assert [text for text in watched.complaints if not unreachable.match(text)] == []
    assert all(one.startswith(desk.address) for one in watched.requests)
    desk.__dict__["close"] = lambda: None  # of the fixture


def test_pictures_move_stand_still_and_follow_the_reader(
    desk: Desk, open_page: Callable[..., Any]
) -> None:
    from playwright.sync_api import expect

    pictures = [png_of(np.full((200, 200, 3), 80 * i, np.uint8)) for i in range(3)]
    sides = [{**SIDE, "pictures": pictures}, {**OTHER, "pictures": pictures[:2]}]
    person = Person(desk, [content("a", segments=sides)])
    page = open_page(desk.address, color_scheme="dark").page
    images = page.locator(".side img")
    images.first.wait_for()
    expect(images.first).to_have_attribute("src", pictures[2])
    # The shorter one stands at its end meanwhile.
    assert images.nth(1).get_attribute("src") == pictures[1]
    page.keyboard.press("p")
    still = images.first.get_attribute("src")
    page.wait_for_timeout(400)
    assert images.first.get_attribute("src") == still
    assert page.locator("#play").text_content() == "Play P"
    paint = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paint) == "rgb(17, 22, 27)"
    person.end()


def test_a_reader_who_prefers_no_motion_starts_with_still_pictures(
    desk: Desk, open_page: Callable[..., Any]
) -> None:
    picture = png_of(np.zeros((200, 200, 3), np.uint8))
    person = Person(desk, [content("a", segments=[{**SIDE, "pictures": [picture]}] * 2)])
    page = open_page(desk.address, reduced_motion="reduce", width=400).page
    page.locator(".side img").first.wait_for()
    assert page.locator("#play").text_content() == "Play P"
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    person.end()
