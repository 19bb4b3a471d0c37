# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The store's older schemas, and the way from each to the next.

A version's step is frozen: it names tables, columns and texts as the programs of that version wrote them, and shares
nothing with the present schema. SQLite's file is copied beside itself first, since no step leads back.
"""

import filecmp
import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path

import sqlalchemy as sa

from sentinel.model import Ending

log = logging.getLogger(__name__)

# How version 1 began its sentences, in which alone it kept why a capture ends. The first that fits holds.
_ENDINGS_OF_1: tuple[tuple[str, Ending], ...] = (
    ("quiet", "quiet"),
    ("longest", "longest"),
    ("delisted", "delisted"),
    ("the detection closed", "closed"),
    ("stopped", "stopped"),
    ("evicted", "evicted"),
    ("flood", "flood"),
    ("overload", "overload"),
)
_SWITCH_GONE_IN_1 = " is no longer a switch of ours: its lease ends the rule"


def stored_version(db: sa.Connection) -> int | None:
    """Return the schema version of the database; ``None`` where it is empty."""
    tables = sa.inspect(db)
    if tables.has_table("meta"):
        version = db.exec_driver_sql("SELECT schema_version FROM meta").scalar()
        if version is not None:
            try:
                return int(version)
            except ValueError:
                return 0
    # Version 1 could be killed between making its tables and naming its version.
    made = tables.has_table("capture") and "ending_note" not in {one["name"] for one in tables.get_columns("capture")}
    return 1 if made else None


def migrate(db: sa.Connection, version: int) -> None:
    """Carry out each step from ``version`` on; within a transaction that the caller has begun."""
    while version in _STEPS:
        _STEPS[version](db)
        version += 1
    db.exec_driver_sql("DELETE FROM meta")
    db.execute(sa.text("INSERT INTO meta (schema_version) VALUES (:version)"), {"version": version})


def keep_copy(path: Path, version: int) -> Path:
    """Copy the SQLite file to ``<name>.v<version>``, its log included, and return the copy's path.

    A copy of that name with other content, from an earlier upgrade that was taken back, is renamed to the first free
    ``<name>.v<version>.<n>``; one with the same content is left. Raises ``OSError`` and ``sqlite3.Error``.
    """
    copy = path.with_name(f"{path.name}.v{version}")
    fresh = path.with_name(f"{copy.name}.new")
    fresh.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(fresh)) as target:
        source.backup(target)
        damage = target.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(f"{path} is damaged: {damage}")
    if copy.exists() and filecmp.cmp(copy, fresh, shallow=False):
        fresh.unlink()
        return copy
    if copy.exists():
        older = next(name for n in count(1) if not (name := path.with_name(f"{copy.name}.{n}")).exists())
        copy.rename(older)
        log.warning("store: %s is of another upgrade; it is kept as %s", copy, older)
    fresh.chmod(0o600)
    fresh.rename(copy)
    log.warning("store: schema version %d is migrated; the database as it was is kept in %s", version, copy)
    return copy


def ending_of_1(text: str) -> Ending:
    """Return the ending that version 1 told in words; what it never wrote counts as ``closed``, which holds nothing."""
    if text.endswith(_SWITCH_GONE_IN_1):
        return "switch_gone"
    return next((ending for prefix, ending in _ENDINGS_OF_1 if text.startswith(prefix)), "closed")


def _from_1(db: sa.Connection) -> None:
    """The ending becomes a word of a closed set; its sentence moves to ``ending_note``."""
    if not sa.inspect(db).has_table("meta"):
        db.exec_driver_sql("CREATE TABLE meta (schema_version INTEGER NOT NULL)")
    db.exec_driver_sql("ALTER TABLE capture RENAME COLUMN ending TO ending_note")
    db.exec_driver_sql("ALTER TABLE capture ADD COLUMN ending VARCHAR(16)")
    rows = db.execute(sa.text("SELECT id, state, note, ending_note FROM capture")).all()
    # Of an ended one version 1 asked the note whether its pair is held back.
    texts = {row.id: row.note if row.state == "ended" else row.ending_note for row in rows}
    ended = [{"id": key, "note": text, "ending": ending_of_1(text)} for key, text in texts.items() if text]
    if ended:
        db.execute(sa.text("UPDATE capture SET ending = :ending, ending_note = :note WHERE id = :id"), ended)


_STEPS: Mapping[int, Callable[[sa.Connection], None]] = {1: _from_1}
