# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin (``-p tests.support.other_texts``) that replaces each sentence meant for people by another one.

It does so where a sentence enters a value, in the constructors, so that no module of the product sees a sentence of its
own again. What still works does not hang on them. A text that was absent stays absent.
"""

import functools
import inspect
import re
from collections import Counter
from typing import Any
from zlib import crc32

import pytest

from sentinel.capture import events
from sentinel.capture.policy import Refusal
from sentinel.errors import ConfigError, DecodeError, FeedError, RecordingError, Refused, StoreError, SwitchError
from sentinel.model import Capture, Mirror
from sentinel.problems import Problem

TEXTS: dict[type, tuple[str, ...]] = {
    Capture: ("reason", "note", "ending_note"),
    Mirror: ("error",),
    Refusal: ("detail",),
    events.InstallFailed: ("detail",),
    events.RemoveFailed: ("detail",),
    events.SwitchFailed: ("detail",),
    events.ProbeFailed: ("detail",),
    events.Listed: ("unreachable",),
    SwitchError: ("detail",),
    FeedError: ("detail",),
    DecodeError: ("reason",),
    Problem: ("text", "remedy"),
}
# Their whole argument is a sentence.
SENTENCES: tuple[type[Exception], ...] = (StoreError, RecordingError, ConfigError, Refused)
_OTHER = re.compile(r"<[0-9a-f]{8}>")
replaced: Counter[str] = Counter()


def other(text: object) -> object:
    """Return another text for this one, always the same; anything else as it is."""
    if not isinstance(text, str) or not text or _OTHER.fullmatch(text):
        return text
    return f"<{crc32(text.encode()):08x}>"


def _replace_arguments(cls: type, names: tuple[str, ...]) -> None:
    init = cls.__init__  # type: ignore[misc]  # of the class itself, which no instance replaces
    signature = inspect.signature(init)

    @functools.wraps(init)
    def with_other_texts(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        for name in names:
            given = bound.arguments.get(name)
            replaced[f"{cls.__name__}.{name}"] += given != other(given)
            bound.arguments[name] = other(given) if name in bound.arguments else signature.parameters[name].default
        init(*bound.args, **bound.kwargs)

    cls.__init__ = with_other_texts  # type: ignore[misc]  # that is the point


def _replace_sentence(cls: type[Exception]) -> None:
    init = cls.__init__

    def with_another_text(self: Exception, *args: object) -> None:
        init(self, *map(other, args))

    cls.__init__ = with_another_text  # type: ignore[assignment]  # that is the point


def pytest_configure(config: pytest.Config) -> None:
    del config
    for cls, names in TEXTS.items():
        _replace_arguments(cls, names)
    for cls in SENTENCES:
        _replace_sentence(cls)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line("replaced: " + " ".join(sorted(name for name, count in replaced.items() if count)))
