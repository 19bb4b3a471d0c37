# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Who asks: an owner's bearer token, or the common name of a verified client certificate."""

import hashlib
import hmac
import os
import re
import stat
import threading
from typing import List, Optional, Sequence, Tuple

from switch_acl_api.errors import Refused
from switch_acl_api.limits import MAX_TOKEN_FILE_BYTES
from switch_acl_api.policy import is_owner

ANYBODY = "anonymous"

_TOKEN = re.compile(r"[\x21-\x7e]{8,512}\Z")
Signature = Tuple[int, int, int]


def read_tokens(path: str) -> List[Tuple[str, bytes]]:
    """``owner token`` lines as (owner, SHA-256 of the token). Raises ``OSError`` and ``ValueError``.

    The file must be readable by its owner alone, and that owner be this user or root.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise ValueError("not a file")
        if stat.S_IMODE(info.st_mode) & 0o077:
            raise ValueError("readable by others (mode {:04o}); expected 0600".format(stat.S_IMODE(info.st_mode)))
        if info.st_uid not in (0, os.geteuid()):
            raise ValueError("belongs to another user")
        raw = file.read(MAX_TOKEN_FILE_BYTES + 1)
    if len(raw) > MAX_TOKEN_FILE_BYTES:
        raise ValueError("larger than {} octets".format(MAX_TOKEN_FILE_BYTES))
    tokens: List[Tuple[str, bytes]] = []
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        # What is wrong is said without the line: it may hold a secret.
        if len(fields) != 2 or not is_owner(fields[0]):
            raise ValueError("line {}: expected an owner and a token".format(number))
        if _TOKEN.match(fields[1]) is None:
            raise ValueError("line {}: a token has 8 to 512 printable characters".format(number))
        tokens.append((fields[0], _digest(fields[1])))
    if not tokens:
        raise ValueError("no token in it")
    return tokens


def check_secret(path: str) -> None:
    """A private key may be read by its owner, who is this user or root, and by a group that root chose (0640).

    Raises ``OSError`` and ``ValueError``.
    """
    info = os.stat(path)
    mode = stat.S_IMODE(info.st_mode)
    if info.st_uid not in (0, os.geteuid()):
        raise ValueError("{} belongs to another user".format(path))
    if mode & (0o037 if info.st_uid == 0 else 0o077):
        raise ValueError("{} can be read or written by others (mode {:04o}); expected 0600".format(path, mode))


class Authenticator:
    """``methods`` and ``match`` as in the settings; without methods all are ``anonymous``. A changed file counts.

    ``match``: ``either`` of two methods will do, or ``both`` are needed and must name the same owner.
    """

    def __init__(self, methods: Sequence[str], token_file: Optional[str], match: str = "either") -> None:
        self._needs_all = match == "both"
        self._methods = frozenset(methods)
        self._token_file = token_file if "token" in self._methods else None
        self._mutex = threading.Lock()
        self._signature: Optional[Signature] = None
        self._tokens: List[Tuple[str, bytes]] = []
        self.problem = ""

    def owners(self) -> int:
        """How many owners there may be; certificates have no list, so with them there is always another."""
        named = len({owner for owner, _ in self._current()}) if self._token_file is not None else 0
        return max(named, 2 if "mtls" in self._methods else 1)

    def owner(self, authorization: Optional[str], common_name: Optional[str]) -> str:
        """Raises ``Refused`` (401). Two credentials of two owners are no credentials."""
        if not self._methods:
            return ANYBODY
        found = set()
        missing = set(self._methods)
        if "mtls" in self._methods and common_name is not None:
            if not is_owner(common_name):
                raise Refused(401, "the certificate's common name is no owner's name")
            found.add(common_name)
            missing.discard("mtls")
        if "token" in self._methods and authorization is not None:
            found.add(self._owner_of(authorization))
            missing.discard("token")
        if not found or (self._needs_all and missing):
            word = " and " if self._needs_all else " or "
            raise Refused(401, "credentials are missing: {}".format(word.join(sorted(self._methods))))
        if len(found) > 1:
            raise Refused(401, "token and certificate belong to different owners")
        return found.pop()

    def _owner_of(self, authorization: str) -> str:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Refused(401, "expected Authorization: Bearer")
        digest = _digest(token.strip())
        owner = ""
        # Every token is compared, so that time tells nothing.
        for name, known in self._current():
            if hmac.compare_digest(digest, known):
                owner = name
        if not owner:
            raise Refused(401, "unknown token")
        return owner

    def _current(self) -> List[Tuple[str, bytes]]:
        if self._token_file is None:
            return []
        with self._mutex:
            try:
                info = os.stat(self._token_file)
                signature = (info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
                if signature != self._signature:
                    self._tokens = read_tokens(self._token_file)
                    self._signature = signature
                self.problem = ""
            except (OSError, ValueError) as error:
                # A token that was taken away must not go on working because the new file is bad.
                self._tokens, self._signature = [], None
                self.problem = "token_file: {}".format(getattr(error, "strerror", None) or error)
            return list(self._tokens)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
