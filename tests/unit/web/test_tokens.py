# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The lines of names and tokens: strict, and never quoted back."""

import pytest

from sentinel.errors import ConfigError
from sentinel.limits import MAX_TOKENS
from sentinel.web.tokens import parse_tokens

A, B = "a" * 16, "b" * 43


def test_names_go_with_tokens() -> None:
    known = parse_tokens(f"# who\n\nalice {A}\n  bob\t{B}==  \n", "file")
    assert len(known) == 2
    assert known.owner(A) == "alice"
    assert known.owner(B + "==") == "bob"
    assert known.owner(B) is None
    assert known.owner("") is None
    assert known.owner("\udcff") is None


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "holds no token"),
        ("# nobody\n", "holds no token"),
        ("alice\n", "line 1 has 1 fields"),
        (f"alice {A} more\n", "line 1 has 3 fields"),
        (f"-alice {A}\n", "line 1 has a name"),
        (f"{'x' * 65} {A}\n", "line 1 has a name"),
        (f"alice {'a' * 15}\n", "line 1 has a token"),
        (f"alice {'a' * 513}\n", "line 1 has a token"),
        (f"alice {'ü' * 16}\n", "line 1 has a token"),
        (f"alice {A}\nalice {B}\n", "line 2 names alice again"),
        (f"alice {A}\nbob {A}\n", "line 2 has the same token as alice"),
        ("".join(f"n{i} {'t' * 16}{i}\n" for i in range(MAX_TOKENS + 1)), "more than 256"),
    ],
)
def test_what_is_wrong_is_told_by_line(text: str, finding: str) -> None:
    with pytest.raises(ConfigError, match=finding) as caught:
        parse_tokens(text, "file")
    assert A not in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_tokens(f"alice\nbob short\ncarol {A}\n", "file")
    assert len(caught.value.findings) == 2
