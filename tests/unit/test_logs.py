# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The daemon's log: texts from outside cannot write lines of it."""

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sentinel.capture.switches import Access, SwitchClient
from sentinel.commands import logs
from sentinel.errors import SwitchError
from sentinel.limits import MAX_LOG_MESSAGE_CHARS, MAX_LOGGED_CAUSES

FORGED = "no\n2026-01-01 00:00:00,000 ERROR sentinel: forged\x1b[2J\x9b31m\u2028next\u202eback\r\x00"


def formatted(message: str, *args: object, error: BaseException | None = None) -> str:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("sentinel", logging.ERROR, __file__, 1, message, args, exc_info)
    return logs.QuotingFormatter(logs.FORMAT).format(record)


def raw_controls(text: str) -> list[str]:
    return [c for c in text if not c.isprintable() and c != "\n"]


class Liar(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = FORGED.encode()
        self.send_response(503)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def liar() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Liar) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_error_text_of_a_switch_is_one_line_without_control_characters(liar: str) -> None:
    client = SwitchClient("leaf1", liar, Access("127.0.1.70", None, None, None))
    try:
        with pytest.raises(SwitchError) as raised:
            client.health()
    finally:
        client.close()
    line = formatted("%s", raised.value)
    assert "forged" in line
    assert len(line.splitlines()) == 1
    assert not raw_controls(line)


def test_a_message_is_bounded() -> None:
    line = formatted("%s", "x\n" * 100_000)
    assert len(line) < MAX_LOG_MESSAGE_CHARS + 100
    assert line.endswith("(200000 characters)")


def test_a_traceback_keeps_its_lines_and_quotes_each_message_of_its_chain() -> None:
    try:
        try:
            raise ValueError(FORGED)
        except ValueError as cause:
            raise SwitchError("leaf1", "http_503", FORGED) from cause
    except SwitchError as error:
        text = formatted("a round failed", error=error)
    lines = text.splitlines()
    assert lines[0].endswith("ERROR sentinel: a round failed")
    assert lines.count("Traceback (most recent call last):") == 2
    assert any(line.startswith("ValueError: no\\n2026") for line in lines)
    assert lines[-1].startswith("sentinel.errors.SwitchError: switch leaf1: no\\n2026")
    assert any("test_logs.py" in line for line in lines)
    assert not raw_controls(text)
    assert not any(line.startswith("2026-01-01") for line in lines)


def test_chains_of_causes_and_errors_without_text_are_bounded_and_shown() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    error: BaseException = MuteError()
    first = error
    for number in range(20):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    text = formatted("x", error=error)
    assert text.count("Traceback") == MAX_LOGGED_CAUSES
    assert text.endswith("ValueError: 19")
    assert formatted("x", error=first).endswith("MuteError: no text: RuntimeError")


def test_what_ends_a_thread_is_logged_and_quoted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    logs.set_up(logging.INFO)

    def fail() -> None:
        raise ValueError(FORGED)

    thread = threading.Thread(target=fail, name="t1")
    thread.start()
    thread.join()
    shown = capsys.readouterr().err
    assert "CRITICAL sentinel.commands.logs: thread t1 ended" in shown
    assert "ValueError: no\\n2026" in shown
    assert not raw_controls(shown)
