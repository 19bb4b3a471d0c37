# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens: ``name token`` lines, of which only digests stay in memory."""

import hashlib
import hmac
import re

from sentinel.errors import ConfigError
from sentinel.limits import MAX_TOKEN_CHARS, MAX_TOKENS, MIN_TOKEN_CHARS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
# RFC 6750 section 2.1, b64token
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class Tokens:
    """Who may ask, by token."""

    def __init__(self, digests: tuple[tuple[str, bytes], ...]) -> None:
        self._digests = digests

    def __len__(self) -> int:
        return len(self._digests)

    def owner(self, token: str) -> str | None:
        """Return the name that goes with ``token``; takes the same time whichever entry matches, or none."""
        digest = _digest(token)
        found = None
        for name, known in self._digests:
            if hmac.compare_digest(digest, known):
                found = name
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def parse_tokens(text: str, source: str) -> Tokens:
    """Read ``name token`` lines and ``#`` comments; raises ``ConfigError`` with every finding and no token in it."""
    findings: list[str] = []
    digests: dict[bytes, str] = {}
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        reason = _line_fault(fields, names)
        if not reason and _digest(fields[1]) in digests:
            reason = f"has the same token as {digests[_digest(fields[1])]}"
        if reason:
            findings.append(f"line {number} {reason}")
            continue
        names.add(fields[0])
        digests[_digest(fields[1])] = fields[0]
    if not digests and not findings:
        findings.append("holds no token; expected lines of a name and a token")
    if len(digests) > MAX_TOKENS:
        findings.append(f"holds {len(digests)} tokens, more than {MAX_TOKENS}")
    if findings:
        raise ConfigError(source, findings)
    return Tokens(tuple((name, digest) for digest, name in digests.items()))


def _line_fault(fields: list[str], names: set[str]) -> str:
    if len(fields) != 2:
        return f"has {len(fields)} fields, expected a name and a token"
    name, token = fields
    if not _NAME.fullmatch(name):
        return "has a name that is not 1 to 64 letters, digits, '_', '.', '@' or '-'"
    if name in names:
        return f"names {name} again"
    if not MIN_TOKEN_CHARS <= len(token) <= MAX_TOKEN_CHARS or not _TOKEN.fullmatch(token):
        return (
            f"has a token that is not {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} characters of base64 "
            "(openssl rand -base64 32 makes one)"
        )
    return ""
