# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Texts from outside, made safe for a line of a log or a terminal."""


def quoted(text: str, longest: int) -> str:
    """Return ``text`` as one line of at most ``longest`` characters (40 or more), each of them printable.

    Control characters (C0, C1), line separators, bidirectional controls, invisible and unassigned characters and lone
    surrogates become escapes as in a Python literal. A text that is cut says how long it was.
    """
    shown = text[: longest + 1]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    if len(shown) <= longest:
        return shown
    end = f"... ({len(text)} characters)"
    return shown[: longest - len(end)] + end
