# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Captures on disk (SQLAlchemy Core; SQLite by default, PostgreSQL by URL). The one edge where captures become rows.

Every failure is a ``StoreError``; nothing is guessed from a database that cannot be read.
"""

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from sentinel.capture.migration import keep_copy, migrate, stored_version
from sentinel.errors import StoreError
from sentinel.limits import STORE_LOG_PAGES
from sentinel.model import Capture, Indicator, Mirror

SCHEMA_VERSION = 2
# Captures per statement; SQLite takes 32,766 values in one, older ones 999.
BATCH = 500
# The key of PostgreSQL's advisory lock, per database: "sentinel" in ASCII.
_OPENING = int.from_bytes(b"sentinel", "big")

_metadata = sa.MetaData()
_meta = sa.Table("meta", _metadata, sa.Column("schema_version", sa.Integer, nullable=False))
_capture = sa.Table(
    "capture",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("local_ip", sa.String(45), nullable=False),
    sa.Column("listed_ip", sa.String(45), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("evidence_at", sa.Float, nullable=False),
    sa.Column("ends_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float, nullable=True, index=True),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("ending", sa.String(16), nullable=True),
    sa.Column("ending_note", sa.Text, nullable=False),
    sa.Column("indicators", sa.Text, nullable=False),
)
_mirror = sa.Table(
    "mirror",
    _metadata,
    sa.Column("capture_id", sa.String(32), sa.ForeignKey("capture.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("switch", sa.String(64), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("rule", sa.String(64), nullable=False),
    sa.Column("lines", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("packets", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)


def _taking(names: Iterable[str]) -> Callable[[object], dict[str, Any]]:
    """What gives these attributes of a value by name; ``asdict`` would copy deeply what is frozen anyway."""
    held = tuple(names)
    values = attrgetter(*held)
    return lambda value: dict(zip(held, values(value), strict=True))


# What of a value is a column as it is; the rest is made.
_of_capture = _taking(column.name for column in _capture.columns if column.name != "indicators")
_of_mirror = _taking(column.name for column in _mirror.columns if column.name not in {"lines", "position"})
_of_indicator = _taking(field.name for field in fields(Indicator))
# What saving does: a capture's row takes its mirrors with it, as the schema says, and is written anew.
_SAVING = (_capture.delete().where(_capture.c.id == sa.bindparam("saved")), _capture.insert(), _mirror.insert())


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


class Store:
    """``open()`` before use; safe to call from several threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: sa.Engine | None = None
        # Kept for saving: a switch's request waits for what is saved, and a sixth of that was to ask the pool.
        self._writer: sa.Connection | None = None
        self._writing = threading.Lock()
        self._saving: tuple[str, ...] = ()
        # Device and inode of an SQLite file.
        self._file: tuple[int, int] | None = None

    def open(self) -> None:
        """Create the schema, or bring an older one up to date; a newer one is refused rather than guessed at.

        An older SQLite file is kept as ``<name>.v<version>`` beside it.
        """
        try:
            engine = _engine_for(sa.make_url(self._url))
            # Once: to find a statement's words takes longer than to execute it, and a switch's request waits for both.
            self._saving = tuple(str(one.compile(dialect=engine.dialect)) for one in _SAVING)
            try:
                with engine.begin() as db:
                    _bring_up_to_date(db)
                path = _path_of(engine)
                self._file = _identity(path) if path else None
            except BaseException:
                engine.dispose()
                raise
        except SQLAlchemyError as error:
            raise _store_error("cannot be opened", error) from error
        except (OSError, sqlite3.Error) as error:
            raise _store_error("cannot be copied before its schema is migrated", error) from error
        self._engine = engine
        # What a process that was killed left in the log would be read at every start until somebody syncs. A disk that
        # does not take it now is complained of by the next sync.
        with contextlib.suppress(StoreError):
            self.sync()

    def close(self) -> None:
        if self._engine is not None:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._engine.dispose()
            self._engine = None

    def gone(self) -> bool:
        """Tell whether the file was deleted or replaced since ``open()``; what is saved is then lost with this process.

        SQLite does not notice: it goes on writing to the file that has no name any more.
        """
        path = Path(sa.make_url(self._url).database or "")
        try:
            return self._file is not None and _identity(path) != self._file
        except FileNotFoundError:
            return True
        except OSError:
            # Unknown; a folder that is not accessible is reported by the next save or sync.
            return False

    def renew(self, captures: Iterable[Capture]) -> None:
        """Make a new file in place of one that is gone, with these captures in it; nothing may be saved meanwhile.

        A file that has taken the place is kept as ``<name>.replaced``. After a ``StoreError`` nothing can be saved, and
        ``gone()`` stays true.
        """
        self.close()
        path = Path(sa.make_url(self._url).database or "")
        try:
            _clear(path)
            self.open()
            self.save(captures)
        except (OSError, StoreError) as error:
            self.close()
            # No file's: a new one may have got the inode of the one that is gone.
            self._file = (0, 0)
            if isinstance(error, StoreError):
                raise
            raise _store_error("cannot be written anew", error) from error

    def save(self, captures: Iterable[Capture]) -> None:
        """All of them or none; when this returns, no end of this process loses them."""
        rows = list({capture.id: capture for capture in captures}.values())
        try:
            engine = self._opened()
            with self._writing:
                self._writer = self._writer or engine.connect()
                with self._writer.begin():
                    for start in range(0, len(rows), BATCH):
                        self._replace(self._writer, rows[start : start + BATCH])
        except SQLAlchemyError as error:
            raise _store_error("cannot be written", error) from error

    def live(self) -> list[Capture]:
        """Everything that has not ended, oldest first."""
        return self._read(_capture.c.state != "ended", _capture.c.created_at)

    def ended(self, most: int, since: float = 0.0) -> list[Capture]:
        """The last that ended, newest first."""
        chosen = sa.and_(_capture.c.state == "ended", _capture.c.ended_at >= since)
        return self._read(chosen, _capture.c.ended_at.desc(), most)

    def get(self, capture_id: str) -> Capture | None:
        found = self._read(_capture.c.id == capture_id, _capture.c.id)
        return found[0] if found else None

    def purge(self, ended_before: float, keep: int) -> int:
        """Forget what ended before this time, or is not among the last ``keep``; returns how many."""
        try:
            with self._opened().begin() as db:
                newest = sa.select(_capture.c.ended_at).where(_capture.c.state == "ended")
                edge = db.execute(newest.order_by(_capture.c.ended_at.desc()).offset(keep).limit(1)).scalar()
                before = max(ended_before, edge or 0.0)
                old = sa.and_(_capture.c.state == "ended", _capture.c.ended_at <= before)
                db.execute(_mirror.delete().where(_mirror.c.capture_id.in_(sa.select(_capture.c.id).where(old))))
                return db.execute(_capture.delete().where(old)).rowcount
        except SQLAlchemyError as error:
            raise _store_error("cannot be purged", error) from error

    def sync(self) -> None:
        """Bring what was committed to the disk; commits go on meanwhile. Nothing to do where each commit does it."""
        try:
            engine = self._opened()
            if engine.dialect.name == "sqlite":
                with engine.connect() as db:
                    db.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        except SQLAlchemyError as error:
            raise _store_error("cannot be brought to the disk", error) from error

    def _read(self, chosen: "sa.ColumnElement[bool]", order: Any, most: int | None = None) -> list[Capture]:
        try:
            with self._opened().connect() as db:
                rows = db.execute(_capture.select().where(chosen).order_by(order).limit(most)).mappings().all()
                ids = [row["id"] for row in rows]
                mirrors: dict[str, list[Mirror]] = {}
                for start in range(0, len(ids), BATCH):
                    some = _mirror.c.capture_id.in_(ids[start : start + BATCH])
                    for row in db.execute(_mirror.select().where(some).order_by(_mirror.c.position)).mappings():
                        mirrors.setdefault(row["capture_id"], []).append(_mirror_of(row))
                return [_capture_of(row, tuple(mirrors.get(row["id"], ()))) for row in rows]
        except (SQLAlchemyError, ValueError, TypeError, KeyError) as error:
            raise _store_error("cannot be read", error) from error

    def _replace(self, db: sa.Connection, captures: list[Capture]) -> None:
        """Three statements whatever their number, in any dialect."""
        forget, keep, keep_mirrors = self._saving
        db.exec_driver_sql(forget, [{"saved": capture.id} for capture in captures])
        db.exec_driver_sql(keep, [_capture_row(capture) for capture in captures])
        mirrors = [_mirror_row(mirror, at) for capture in captures for at, mirror in enumerate(capture.mirrors)]
        if mirrors:
            db.exec_driver_sql(keep_mirrors, mirrors)

    def _opened(self) -> sa.Engine:
        if self._engine is None:
            raise StoreError("store: not open")
        return self._engine


def _engine_for(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, paramstyle="named")
        sa.event.listen(engine, "connect", _sqlite_settings)
        return engine
    try:
        return sa.create_engine(url)
    except ImportError as error:
        hint = "; for PostgreSQL install psycopg[binary] and begin the URL with postgresql+psycopg://"
        raise StoreError(
            f"store: the database driver of {url.drivername}:// cannot be loaded: {error}"
            f"{hint if url.get_backend_name() == 'postgresql' else ''}"
        ) from error


def _path_of(engine: sa.Engine) -> Path | None:
    path = engine.url.database
    return Path(path) if engine.dialect.name == "sqlite" and path and path != ":memory:" else None


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _clear(path: Path) -> None:
    """Let no log of another file be taken for that of the new one."""
    replaced = path.exists()
    for suffix in ("", "-wal", "-shm"):
        part = Path(f"{path}{suffix}")
        with contextlib.suppress(FileNotFoundError):
            if replaced:
                part.replace(f"{path}.replaced{suffix}")
            else:
                part.unlink()


def _bring_up_to_date(db: sa.Connection) -> None:
    if db.dialect.name == "postgresql":
        # Before the first look: a look locks what it reads until the transaction ends, so that two processes which
        # then ask for more wait for each other. No table would do, since the database may be empty.
        db.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_OPENING})")
    version = stored_version(db)
    if version is not None and version != SCHEMA_VERSION and db.dialect.name == "sqlite":
        # The driver begins no transaction for a change of a table by itself.
        db.exec_driver_sql("BEGIN IMMEDIATE")
        # Another process may have been first.
        version = stored_version(db)
    if version is not None and version < 1:
        raise StoreError("store: its schema version is none that any program wrote; restore a backup, or move it away")
    if version is not None and version > SCHEMA_VERSION:
        raise StoreError(
            f"store: schema version {version}, this program knows {SCHEMA_VERSION}: install the newer program, or "
            'go back to the database of before its upgrade (deploy/OPERATIONS.md, "Upgrade")'
        )
    if version is not None and version < SCHEMA_VERSION:
        path = _path_of(db.engine)
        if path and path.exists():
            keep_copy(path, version)
        migrate(db, version)
    _metadata.create_all(db)
    if version is None:
        db.execute(_meta.insert().values(schema_version=SCHEMA_VERSION))


def _sqlite_settings(connection: Any, record: object) -> None:
    del record
    cursor = connection.cursor()
    # NORMAL: what is committed outlives this process however it ends, and an install does not wait for the disk. A
    # power cut may take the commits since the last sync() with it, whole ones: a rule forgotten so is taken for an
    # orphan when its switch is listed at the next start, or its lease ends it; one that was being removed is installed
    # once more and ends by its capture's clock.
    # No commit syncs in passing (SQLite's own way, every thousand pages), unless nobody calls sync().
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"wal_autocheckpoint={STORE_LOG_PAGES}",
        "busy_timeout=2000",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _store_error(what: str, error: Exception) -> StoreError:
    cause = getattr(error, "orig", None) or error
    return StoreError(f"store: {what}: {cause}")


def _capture_row(capture: Capture) -> dict[str, Any]:
    return {**_of_capture(capture), "indicators": json.dumps([_of_indicator(each) for each in capture.indicators])}


def _mirror_row(mirror: Mirror, position: int) -> dict[str, Any]:
    return {**_of_mirror(mirror), "lines": json.dumps(mirror.lines), "position": position}


def _mirror_of(row: Any) -> Mirror:
    values = {key: value for key, value in row.items() if key != "position"}
    return Mirror(**{**values, "lines": tuple(json.loads(row["lines"]))})


def _capture_of(row: Any, mirrors: tuple[Mirror, ...]) -> Capture:
    indicators = tuple(Indicator(**indicator) for indicator in json.loads(row["indicators"]))
    return Capture(**{**row, "indicators": indicators, "mirrors": mirrors})
