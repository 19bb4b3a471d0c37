# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A quoted text is one printable line within its bound, and a plain text that fits is left as it is."""

from hypothesis import given
from hypothesis import strategies as st

from sentinel.texts import quoted

TEXTS = st.text(st.characters(), max_size=200) | st.text("\n\r\x1b\x85\u2028\u2029\u202e\u2066\ud800a\\", max_size=200)


@given(TEXTS, st.integers(40, 120))
def test_it_is_one_printable_line_within_the_bound(text: str, longest: int) -> None:
    shown = quoted(text, longest)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert len(shown) <= longest
    shown.encode()


@given(TEXTS, st.integers(40, 2_000))
def test_what_is_not_cut_can_be_told_apart_by_its_escapes(text: str, longest: int) -> None:
    shown = quoted(text, longest)
    if text.isprintable() and len(text) <= longest:
        assert shown == text
    if "\\" not in text and not shown.endswith("characters)"):
        assert shown.encode("latin-1", "backslashreplace").decode("unicode_escape") == text
