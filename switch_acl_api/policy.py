# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The rule files in policy.d and the two notes beside them in the state directory.

The files are the truth. Each begins with a comment that says who owns it and until when, so rule and lease appear in
one rename and no crash parts them. A file of ours whose comment cannot be read counts as expired.

``leases.json`` holds renewed deadlines, so that renewing rewrites no rule file; an entry counts only for the very file
it was made for (``nonce``). Losing it means rules end at their first deadline, never later.

``uncommitted`` exists from before the first change of policy.d until the data plane has taken it: the next hand that
finds it commits. It names the files that were being tried, so that a bad one does not stay because its writer died.

Nothing that removes a rule needs room on a disk: while all is committed the mark's file exists under another name,
``committed``, and is only renamed; if even that fails, the mark is kept in memory and the file is deleted all the same.
"""

import contextlib
import errno
import json
import os
import re
import stat
import uuid
from pathlib import Path
from typing import Dict, Iterable, Iterator, NamedTuple, Optional, Set, Tuple

from switch_acl_api.atomic import sync_folder, write_file
from switch_acl_api.errors import NoRoomError
from switch_acl_api.foreign import foreign_keys
from switch_acl_api.grammar import RuleKey
from switch_acl_api.leases import PASSED, Deadline
from switch_acl_api.limits import MAX_NAME_CHARS, MAX_OWNER_CHARS, MAX_POLICY_FILE_BYTES, MAX_STATE_FILE_BYTES
from switch_acl_api.lock import ProcessLock, claim

_FILE = re.compile(r"50rest-([a-z0-9_]{{1,{}}})\.rules\Z".format(MAX_NAME_CHARS))
# This process or this machine lacks something; it says nothing about a file.
_OUR_LACK = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_TEMP = re.compile(r"(\.50rest-|leases\.|uncommitted\.).*\.tmp\Z")
_HEADER = "# switch-acl-api "
_OWNER = re.compile(r"[A-Za-z0-9_.@-]{{1,{}}}\Z".format(MAX_OWNER_CHARS))

Signature = Tuple[int, int, int]


class Acl(NamedTuple):
    """One file of ours. ``lease`` ``None``: without end. ``readable`` is false where the comment is not ours."""

    name: str
    owner: str
    lines: Tuple[str, ...]
    lease: Optional[Deadline]
    nonce: str
    readable: bool = True


def new_nonce() -> str:
    return uuid.uuid4().hex


def is_owner(text: str) -> bool:
    return _OWNER.match(text) is not None


class PolicyDir:
    """Reading is safe at any time; a writer holds ``lock``. ``trouble`` says why the notes cannot be read, if so."""

    def __init__(self, policy_dir: str, state_dir: str) -> None:
        self.path = Path(policy_dir)
        self._state = Path(state_dir)
        self._leases_file = self._state / "leases.json"
        self._mark = self._state / "uncommitted"
        self._spare = self._state / "committed"
        self._unmarked = False
        self.trouble = ""
        self.lock = ProcessLock(self._state / "lock", self.path)
        self._files: Dict[str, Tuple[Signature, Acl]] = {}
        self._renewed: Dict[str, Tuple[str, Deadline]] = {}
        self._renewed_signature: Optional[Signature] = None

    def prepare(self) -> None:
        """Make the folders and the file that marks need. Raises ``OSError``."""
        self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.mkdir(parents=True, exist_ok=True)
        if not self._mark.exists() and not self._spare.exists():
            with contextlib.suppress(OSError):
                self._spare.touch(0o600)

    def claim(self) -> int:
        """Keep the state folder for this process. Raises ``AlreadyRunningError`` and ``OSError``."""
        return claim(self._state / "running", self._state)

    # --- reading ---------------------------------------------------------------------------------

    def acls(self) -> Dict[str, Acl]:
        """All files of ours by name, with renewed leases. Raises ``OSError`` if the folder cannot be read."""
        found: Dict[str, Tuple[Signature, Acl]] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(str(self.path)) as listing:
            for item in listing:
                match = _FILE.match(item.name)
                if match is None:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    info = item.stat(follow_symlinks=False)
                    signature = (info.st_mtime_ns, info.st_size, info.st_ino)
                    known = self._files.get(match.group(1))
                    acl = known[1] if known and known[0] == signature else self._read(match.group(1), info)
                    found[match.group(1)] = (signature, acl)
        self._files = found
        renewed = self._renewals()
        return {name: _with_renewal(acl, renewed.get(name)) for name, (_, acl) in found.items()}

    def foreign_rules(self) -> Set[RuleKey]:
        """The ERSPAN rules in other people's rule files, as far as they can be read."""
        found: Set[RuleKey] = set()
        with contextlib.suppress(OSError):
            for path in sorted(self.path.glob("*.rules")):
                if _FILE.match(path.name) is None:
                    with contextlib.suppress(OSError), path.open("rb") as file:
                        found |= foreign_keys(file.read(MAX_STATE_FILE_BYTES).decode("utf-8", "replace"))
        return found

    def file_of(self, name: str) -> Path:
        return self.path / "50rest-{}.rules".format(name)

    def holds(self, name: str) -> bool:
        """Whether there is something of that name, be it no file."""
        return os.path.lexists(str(self.file_of(name)))

    def _read(self, name: str, info: os.stat_result) -> Acl:
        broken = Acl(name, "", (), PASSED, "", readable=False)
        if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_POLICY_FILE_BYTES:
            return broken
        try:
            fd = os.open(str(self.file_of(name)), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                text = file.read(MAX_POLICY_FILE_BYTES + 1)
        except OSError as error:
            if error.errno in _OUR_LACK:
                raise
            return broken
        return _parse_file(name, text) or broken

    def _renewals(self) -> Dict[str, Tuple[str, Deadline]]:
        try:
            info = os.stat(str(self._leases_file))
            signature = (info.st_mtime_ns, info.st_size, info.st_ino)
            if signature != self._renewed_signature:
                self._renewed = _parse_leases(self._leases_file)
                self._renewed_signature = signature
            self.trouble = ""
        except OSError as error:
            # A lease that cannot be read ends at its first deadline; it must not keep the others from ending.
            self._renewed, self._renewed_signature = {}, None
            missing = isinstance(error, FileNotFoundError)
            self.trouble = "" if missing else "leases.json cannot be read: {}".format(error.strerror)
        return self._renewed

    # --- writing (under the lock) ----------------------------------------------------------------

    def write(self, acl: Acl) -> None:
        """Atomic: the old file or the new one, also after a power cut. Raises ``OSError``."""
        head = {"owner": acl.owner, "nonce": acl.nonce, "lease": list(acl.lease) if acl.lease else None}
        text = "\n".join([_HEADER + json.dumps(head, sort_keys=True), *acl.lines, ""])
        temp = self.path / ".50rest-{}.{}.tmp".format(acl.name, new_nonce())
        write_file(temp, self.file_of(acl.name), text.encode("ascii"), 0o644, durable=True)

    def remove(self, name: str) -> bool:
        """True if something changed; an absent file is as wished. Raises ``OSError`` if the lines stay.

        If the folder does not let a file go, the file is emptied, which is as good: no line of it is installed again.
        """
        path = str(self.file_of(name))
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        except OSError:
            changed = _removed_otherwise(path)
            if changed is None:
                raise
            return changed
        # Not deleted for ever until this; after a power cut another boot id ends the rule anyway.
        with contextlib.suppress(OSError):
            sync_folder(self.path)
        return True

    def renew(self, deadlines: Dict[str, Tuple[str, Deadline]]) -> None:
        """``{name: (nonce, deadline)}``, beside the renewals of other files that still exist.

        Not synced: after a power cut the boot id is another one, and no deadline counts. Raises ``OSError``, and
        ``NoRoomError`` instead of writing what would not be read again.
        """
        kept = {name: lease for name, lease in self._renewals().items() if self.file_of(name).exists()}
        kept.update(deadlines)
        table = {name: [nonce, deadline.boot_id, deadline.at] for name, (nonce, deadline) in kept.items()}
        content = json.dumps(table).encode("ascii")
        if len(content) > MAX_STATE_FILE_BYTES:
            raise NoRoomError("{} leases do not fit into {} octets".format(len(table), MAX_STATE_FILE_BYTES))
        temp = self._state / "leases.{}.tmp".format(new_nonce())
        write_file(temp, self._leases_file, content, 0o600, durable=False)

    def mark_uncommitted(self, nonces: Iterable[str] = ()) -> None:
        """Before the first change. ``nonces`` are of files about to be written, which nothing has proved yet.

        Without ``nonces`` this needs no room and never fails. Raises ``OSError``.
        """
        known = self.unproved()
        wanted = known.union(nonces)
        if wanted == known and self.uncommitted:
            return
        if not wanted:
            self._mark_removal()
            return
        temp = self._state / "uncommitted.{}.tmp".format(new_nonce())
        write_file(temp, self._mark, json.dumps(sorted(wanted)).encode("ascii"), 0o600, durable=True)

    def _mark_removal(self) -> None:
        try:
            os.replace(str(self._spare), str(self._mark))
            sync_folder(self._state)
        except OSError:
            self._unmarked = not os.path.lexists(str(self._mark))

    def unproved(self) -> Set[str]:
        """The nonces of files that were being committed when somebody died."""
        try:
            with self._mark.open("rb") as file:
                found = json.loads(file.read(MAX_STATE_FILE_BYTES).decode("ascii"))
        except (OSError, ValueError, RecursionError):
            return set()
        return {nonce for nonce in found if isinstance(nonce, str)} if isinstance(found, list) else set()

    def clear_uncommitted(self) -> None:
        """Never fails: a mark that stays makes the next hand commit once more."""
        self._unmarked = False
        with contextlib.suppress(OSError):
            # Emptied first: what it names is proved now.
            os.close(os.open(str(self._mark), os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC))
            os.replace(str(self._mark), str(self._spare))

    @property
    def uncommitted(self) -> bool:
        return self._unmarked or os.path.lexists(str(self._mark))

    def sweep(self) -> None:
        """Remove what a crash left half written."""
        for folder in (self.path, self._state):
            for leftover in _leftovers(folder):
                with contextlib.suppress(OSError):
                    os.unlink(str(leftover))


def _removed_otherwise(path: str) -> Optional[bool]:
    """Remove an empty folder of that name, or empty the file: whether that changed anything, ``None`` if it fails."""
    with contextlib.suppress(OSError):
        os.rmdir(path)
        return True
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not os.fstat(fd).st_size:
            return False
        os.ftruncate(fd, 0)
    except OSError:
        return None
    finally:
        os.close(fd)
    return True


def _leftovers(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(str(folder)) as listing:
        for item in listing:
            if _TEMP.match(item.name):
                yield folder / item.name


def _with_renewal(acl: Acl, renewal: Optional[Tuple[str, Deadline]]) -> Acl:
    if renewal is None or acl.lease is None or not acl.readable or renewal[0] != acl.nonce:
        return acl
    return acl._replace(lease=renewal[1])


def _parse_file(name: str, raw: bytes) -> Optional[Acl]:
    """``None`` where the first line is not one that ``PolicyDir.write`` writes."""
    try:
        first, newline, rest = raw.decode("ascii").partition("\n")
        if not newline or not first.startswith(_HEADER):
            return None
        head = json.loads(first[len(_HEADER) :])
        lease = _lease(head["lease"])
        owner, nonce = head["owner"], head["nonce"]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    if not isinstance(owner, str) or not is_owner(owner) or not isinstance(nonce, str) or not nonce:
        return None
    # The last line ends in a newline; without it the file was cut.
    if rest and not rest.endswith("\n"):
        return None
    return Acl(name, owner, tuple(rest.split("\n")[:-1]), lease, nonce)


def _lease(value: object) -> Optional[Deadline]:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2:
        boot_id, at = value
        if isinstance(boot_id, str) and isinstance(at, (int, float)) and not isinstance(at, bool):
            return Deadline(boot_id, float(at))
    raise ValueError("no lease")


def _parse_leases(path: Path) -> Dict[str, Tuple[str, Deadline]]:
    """What can be read of it; anything else falls back to the file's own deadline."""
    with path.open("rb") as file:
        raw = file.read(MAX_STATE_FILE_BYTES + 1)
    renewed: Dict[str, Tuple[str, Deadline]] = {}
    try:
        table = json.loads(raw.decode("ascii")) if len(raw) <= MAX_STATE_FILE_BYTES else {}
        for name, (nonce, boot_id, at) in table.items():
            lease = _lease([boot_id, at])
            if isinstance(nonce, str) and lease is not None:
                renewed[name] = (nonce, lease)
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}
    return renewed
