"""Serves the page on which a person answers, on this machine only and to one reader.

The server listens on 127.0.0.1 at a free port. Each address begins with a token that is drawn anew
and is printed only, other hosts and origins are rejected, and an answer must name the question that
it is an answer to, so that a page that is late or open twice answers nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

Answer = float | Literal["undo"]
_ANSWERS: dict[str, Answer] = {"left": 1.0, "right": 0.0, "equal": 0.5, "undo": "undo"}
_HERE = Path(__file__).parent
_MOST_BYTES = 1_000  # of a request
_PATIENCE = 2.0  # seconds that a page waits for the next question to be drawn
_LOOK_EVERY = 0.2  # seconds between two questions whether to stop


class Desk:
    """What is shown at the moment, and the answer to it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shown: Mapping[str, Any] = {"waiting": True}
        self._answer: Answer | None = None
        self._token = secrets.token_urlsafe(18)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where the server listens."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://127.0.0.1:{self.port}/{self._token}/"

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def show(self, content: Mapping[str, Any]) -> None:
        """Show a question, {"question": its id, ...}, or {"waiting": True}."""
        with self._changed:
            self._shown, self._answer = content, None
            self._changed.notify_all()

    def wait(self, stop: Callable[[], int]) -> Answer | None:
        """Return the answer to what is shown, or None as soon as `stop` says so."""
        with self._changed:
            while self._answer is None:
                if stop():
                    return None
                self._changed.wait(_LOOK_EVERY)
            return self._answer

    def shown(self) -> Mapping[str, Any]:
        """Return what is shown; after an answer, wait a moment for the next question."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._answer is None, _PATIENCE):
                return {"waiting": True}
            return self._shown

    def take(self, question: object, answer: object) -> bool:
        """Accept an answer if its question is shown and unanswered; return whether it is."""
        with self._changed:
            is_shown = "question" in self._shown and self._shown["question"] == question
            if not is_shown or self._answer is not None or str(answer) not in _ANSWERS:
                return False
            self._answer = _ANSWERS[str(answer)]
            self._changed.notify_all()
            return True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        desk, page = self, _page()

        class Handler(_Handler):
            def do_GET(self) -> None:
                place = self.place(desk._token, desk.port)
                if place == "":
                    self.reply(200, page, "text/html; charset=utf-8", policy=_policy(page))
                elif place == "question":
                    self.reply(200, json.dumps(desk.shown()).encode(), "application/json")
                elif place is not None:
                    self.reply(404)

            def do_POST(self) -> None:
                place = self.place(desk._token, desk.port)
                if place is None:
                    return
                content = self.content()
                if place != "answer" or content is None:
                    self.reply(404 if place != "answer" else 400)
                elif desk.take(content.get("question"), content.get("answer")):
                    self.reply(200, b"{}", "application/json")
                else:
                    self.reply(409)

        return Handler


class _Handler(BaseHTTPRequestHandler):
    """Checks who asks, and replies."""

    server_version, sys_version = "rlkit", ""
    timeout = 30

    def place(self, token: str, port: int) -> str | None:
        """Return the path behind the token, or None after a rejection."""
        hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        origin = self.headers.get("Origin")
        known = origin is None or origin in [f"http://{host}" for host in hosts]
        if self.headers.get("Host") not in hosts or not known:
            self.reply(403)
            return None
        given, _, rest = self.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(given.encode(), token.encode()):
            self.reply(404)
            return None
        return rest

    def content(self) -> dict[str, Any] | None:
        """Return the JSON object of a request, None if it is none."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Content-Type") != "application/json" or not length.isdigit():
            return None
        if int(length) > _MOST_BYTES:
            return None
        with contextlib.suppress(ValueError):
            content = json.loads(self.rfile.read(int(length)))
            return content if isinstance(content, dict) else None
        return None

    def reply(
        self, code: int, data: bytes = b"", kind: str = "text/plain", policy: str = ""
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", policy or "default-src 'none'")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the reader went away
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal shows the progress of the training."""


def _page() -> bytes:
    parts = {name: (_HERE / f"page.{name}").read_text("utf-8") for name in ("html", "css", "js")}
    text = parts["html"].replace("/*style*/", parts["css"]).replace("/*script*/", parts["js"])
    return text.encode()


def _policy(page: bytes) -> str:
    """Return the policy that allows the page's own style and script, and asking this server."""
    hashes = {}
    for tag in (b"style", b"script"):
        content = page.partition(b"<" + tag + b">")[2].partition(b"</" + tag + b">")[0]
        hashes[tag] = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return (
        f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors 'none'; style-src 'sha256-{hashes[b'style']}'; "
        f"script-src 'sha256-{hashes[b'script']}'"
    )
