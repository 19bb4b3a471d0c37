# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The log on standard error: one line per message, whatever the texts in it contain."""

import logging
import sys
import threading
import traceback
from types import TracebackType

from sentinel.limits import MAX_LOG_MESSAGE_CHARS, MAX_LOGGED_CAUSES
from sentinel.texts import quoted

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

log = logging.getLogger(__name__)


class QuotingFormatter(logging.Formatter):
    """Quotes the message, and in tracebacks the messages of exceptions; the lines of a traceback are our own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = quoted(record.message, MAX_LOG_MESSAGE_CHARS)
        return super().formatMessage(record)

    def formatException(  # noqa: N802 - logging's name
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        chain: list[BaseException] = []
        error = ei[1]
        while error is not None and error not in chain and len(chain) < MAX_LOGGED_CAUSES:
            chain.append(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n\nThen:\n\n".join(_lines(error) for error in reversed(chain))


def _lines(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    try:
        said = str(error)
    except Exception as failed:  # noqa: BLE001 - of whatever kind, the log must go on
        said = f"no text: {type(failed).__name__}"
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    return f"Traceback (most recent call last):\n{frames}{kind}: {quoted(said, MAX_LOG_MESSAGE_CHARS)}"


def set_up(level: int) -> None:
    """Send all logging of this process to standard error, and what ends a thread too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(QuotingFormatter(FORMAT))
    logging.basicConfig(level=level, handlers=[handler])
    for chatty in ("apscheduler", "urllib3", "waitress"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    threading.excepthook = _thread_ended


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "?"
    error = ended.exc_value or ended.exc_type()
    log.critical("thread %s ended", name, exc_info=(ended.exc_type, error, ended.exc_traceback))
