# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The captures' store on a real PostgreSQL server: migration from version 1, races, refusals, and daily work."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sentinel.capture import migration
from sentinel.capture import store as store_module
from sentinel.capture.store import SCHEMA_VERSION, Store, sqlite_url
from sentinel.errors import StoreError
from sentinel.model import Capture, Indicator, Mirror
from tests.support import postgres
from tests.support.fabric import World, detection, leaf, observer, spine
from tests.support.running import until

INITDB = postgres.initdb()
if INITDB is None:
    pytest.skip("the lab needs initdb (Debian's package postgresql)", allow_module_level=True)

STORES = Path(__file__).parents[1] / "unit" / "capture" / "stores"
THEN: dict[str, Any] = json.loads((STORES / "version1.json").read_text())
INVENTORY = [leaf("leaf1", "10.0.1.1", max_rules=2), leaf("leaf2", "10.0.1.2"), spine("spine1", "10.0.1.9")]
CAPTURE = Capture(
    id="c1",
    local_ip="2001:db8:ffff:ffff:ffff:ffff:255.255.255.255",
    listed_ip="198.51.100.7",
    state="active",
    reason="100 % initiated",
    requested_by="policy",
    created_at=1_700_000_000.123456,
    evidence_at=2.0,
    ends_at=3.0,
    indicators=(Indicator("198.51.100.0/24", "test", "c2"),),
    mirrors=(
        Mirror("c1", "leaf1", "sentinel_c1", ("[iptables]", "-A %s :x"), "active", packets=2**62, bytes=2**62),
        Mirror("c1", "leaf2", "sentinel_c1", ("[iptables]",), "removing", error='it\'s "odd"'),
    ),
    note="ü",
)


@pytest.fixture(scope="module")
def server() -> Iterator[sa.URL]:
    assert INITDB is not None
    with postgres.server(INITDB) as url:
        yield url


@pytest.fixture
def empty(server: sa.URL) -> Iterator[sa.URL]:
    with postgres.database(server) as url:
        yield url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(STORES / "version1.db", tmp_path / "sentinel.db"))


@pytest.fixture
def version1(empty: sa.URL, file: Path) -> sa.URL:
    """Copy what the last program of version 1 left, table by table; it made the same tables in either dialect."""
    source = sa.create_engine(sqlite_url(file), poolclass=sa.NullPool)
    tables = sa.MetaData()
    with source.connect() as old, connected(empty) as new:
        tables.reflect(old)
        tables.create_all(new)
        for table in tables.sorted_tables:
            new.execute(table.insert(), [dict(row) for row in old.execute(table.select()).mappings()])
        new.commit()
    return empty


@contextmanager
def connected(url: sa.URL) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as db:
        yield db


@contextmanager
def opened(url: sa.URL | str) -> Iterator[Store]:
    store = Store(url if isinstance(url, str) else url.render_as_string(hide_password=False))
    store.open()
    try:
        yield store
    finally:
        store.close()


def captures(url: sa.URL | str) -> dict[str, Capture]:
    with opened(url) as store:
        return {capture.id: capture for capture in (*store.live(), *store.ended(100))}


def dump(url: sa.URL) -> dict[str, list[tuple[Any, ...]]]:
    """Return each table's columns with their types, its indexes, and its rows."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    with connected(url) as db:
        for table in sa.inspect(db).get_table_names():
            columns = "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = %s"
            indexes = "SELECT indexdef FROM pg_indexes WHERE tablename = %s"
            rows = [db.exec_driver_sql(query, (table,)).all() for query in (columns, indexes)]
            rows.append(db.exec_driver_sql(f"SELECT * FROM {table}").all())
            found[table] = [tuple(row) for each in rows for row in sorted(each, key=str)]
    return found


def sever(url: sa.URL) -> None:
    """End all other connections to the database, on the server's side."""
    with connected(url) as db:
        others = "FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        db.exec_driver_sql(f"SELECT pg_terminate_backend(pid) {others}", (url.database,))


def version_of(url: sa.URL) -> list[int]:
    with connected(url) as db:
        return list(db.exec_driver_sql("SELECT schema_version FROM meta").scalars())


# --- migration -----------------------------------------------------------------------------------


def test_version_1_becomes_what_it_becomes_in_sqlite(version1: sa.URL, file: Path) -> None:
    found = captures(version1)
    assert len(found) == 16
    assert found == captures(sqlite_url(file))
    assert {capture.ending for capture in found.values()} >= {None, "quiet", "flood", "switch_gone"}
    assert version_of(version1) == [SCHEMA_VERSION]
    assert captures(version1) == found, "and stays so"


def test_a_migrated_table_is_that_of_a_new_database(version1: sa.URL, server: sa.URL) -> None:
    with opened(version1), postgres.database(server) as fresh, opened(fresh):
        made, migrated = ({row for row in dump(url)["capture"] if len(row) <= 3} for url in (fresh, version1))
    assert migrated == made


def test_the_pairs_that_version_1_held_back_are_held_back(version1: sa.URL) -> None:
    world = World(INVENTORY)
    world.wall = THEN["start"]
    world.stored = captures(version1)
    world.start()
    held = {}
    for local in THEN["held"]:
        world.sight(local=local, observers=[observer("10.0.1.9", 9)])
        refusal = world.engine.refusals.get(detection(local=local).id)
        held[local] = refusal.reason if refusal else None
    assert held == THEN["held"]


def test_all_of_the_migration_is_one_transaction(version1: sa.URL) -> None:
    captures(version1)
    with connected(version1) as db:
        numbers = db.exec_driver_sql(
            "SELECT xmin::text FROM meta UNION SELECT xmin::text FROM capture WHERE ending IS NOT NULL UNION "
            "SELECT xmin::text FROM pg_attribute WHERE attrelid = 'capture'::regclass AND attname LIKE 'ending%%'"
        ).all()
    assert len(numbers) == 1


def too_long(text: str) -> str:
    return text[0] * 17


def a_bug(text: str) -> str:
    raise RuntimeError(text)


@pytest.mark.parametrize(("fault", "error"), [(too_long, StoreError), (a_bug, RuntimeError)])
def test_a_migration_that_fails_in_its_middle_leaves_version_1(
    version1: sa.URL, monkeypatch: pytest.MonkeyPatch, fault: Callable[[str], str], error: type[Exception]
) -> None:
    before = dump(version1)
    monkeypatch.setattr(migration, "ending_of_1", fault)
    for _ in range(2):
        with pytest.raises(error), opened(version1):
            pass
        assert dump(version1) == before
    monkeypatch.undo()
    assert len(captures(version1)) == 16


def test_a_program_whose_connection_dies_while_it_migrates_leaves_version_1(
    version1: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(version1)

    def severed(text: str) -> str:
        sever(version1)
        return "closed"

    monkeypatch.setattr(migration, "ending_of_1", severed)
    with pytest.raises(StoreError, match="cannot be opened"), opened(version1):
        pass
    assert dump(version1) == before


# --- two programs --------------------------------------------------------------------------------


@pytest.fixture
def migrations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """List the version that each migration began from."""
    began: list[int] = []

    def counted(db: sa.Connection, version: int) -> None:
        began.append(version)
        migration.migrate(db, version)

    monkeypatch.setattr(store_module, "migrate", counted)
    return began


@pytest.mark.parametrize("kind", ["version1", "empty"])
def test_two_programs_that_look_at_once_both_find_version_2(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, migrations: list[int], kind: str
) -> None:
    url = request.getfixturevalue(kind)
    both = threading.Barrier(2)

    def looked(db: sa.Connection) -> int | None:
        version = migration.stored_version(db)
        # As close together as the store lets them be.
        with suppress(threading.BrokenBarrierError):
            both.wait(1.0)
        return version

    monkeypatch.setattr(store_module, "stored_version", looked)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(captures, [url, url])
    assert one == other
    assert len(one) == (16 if kind == "version1" else 0)
    assert migrations == ([1] if kind == "version1" else [])
    assert version_of(url) == [SCHEMA_VERSION]


def test_the_second_program_waits_for_the_first_and_finds_its_work(
    version1: sa.URL, monkeypatch: pytest.MonkeyPatch, migrations: list[int]
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ending_of_1 = migration.ending_of_1

    def slow(text: str) -> Any:
        begun.set()
        assert go_on.wait(30)
        return ending_of_1(text)

    def waiting() -> bool:
        with connected(version1) as db:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
            return db.exec_driver_sql(query, (version1.database,)).scalar() == 1

    monkeypatch.setattr(migration, "ending_of_1", slow)
    with ThreadPoolExecutor(2) as pool:
        try:
            first = pool.submit(captures, version1)
            assert begun.wait(30)
            second = pool.submit(captures, version1)
            until(waiting, 30, "the second waits for a lock")
        finally:
            go_on.set()
        assert first.result(30) == second.result(30)
    assert migrations == [1]


def test_a_store_at_work_does_not_keep_another_from_opening(empty: sa.URL) -> None:
    with opened(empty) as at_work:
        at_work.save([CAPTURE])
        assert captures(empty) == {"c1": CAPTURE}


# --- versions and failures -----------------------------------------------------------------------


def test_a_newer_schema_is_refused_and_left_alone(version1: sa.URL) -> None:
    captures(version1)
    with connected(version1) as db:
        db.exec_driver_sql("UPDATE meta SET schema_version = 99")
        db.exec_driver_sql("ALTER TABLE capture RENAME COLUMN note TO remark")
        db.commit()
    before = dump(version1)
    with pytest.raises(StoreError, match=rf"schema version 99.* {SCHEMA_VERSION}.*newer program"), opened(version1):
        pass
    assert dump(version1) == before


def test_a_server_that_refuses_is_a_store_error(empty: sa.URL) -> None:
    for url in (empty.set(password="wrong"), empty.set(database="absent")):
        with pytest.raises(StoreError, match="cannot be opened"), opened(url):
            pass


# --- daily work ----------------------------------------------------------------------------------


def test_what_is_saved_is_read_back_replaced_and_forgotten(empty: sa.URL) -> None:
    with opened(empty) as store, opened(empty) as other:
        store.save([CAPTURE])
        assert other.live() == [CAPTURE]
        assert other.get("c1") == CAPTURE
        newer = replace(CAPTURE, mirrors=CAPTURE.mirrors[:1], note="")
        store.save([newer])
        assert other.live() == [newer]
        ended = replace(newer, state="ended", ended_at=9.0, ending="switch_gone", ending_note="its lease ends it")
        store.save([ended])
        assert (other.live(), other.ended(5), other.get("absent")) == ([], [ended], None)
        store.sync()


def test_more_captures_than_one_statement_takes_are_saved_read_and_purged(empty: sa.URL) -> None:
    many = 2 * store_module.BATCH + 1

    def numbered(n: int) -> Capture:
        mirror = replace(CAPTURE.mirrors[0], capture_id=f"c{n:05}")
        return replace(CAPTURE, id=f"c{n:05}", state="ended", ending="quiet", ended_at=float(n), mirrors=(mirror,))

    made = [numbered(n) for n in range(many)]
    live = replace(CAPTURE, id="live", mirrors=())
    with opened(empty) as store:
        store.save([*made, live])
        assert store.ended(many) == made[::-1]
        assert store.ended(2, since=many - 1.0) == made[:-2:-1]
        assert store.purge(ended_before=2.0, keep=many) == 3
        assert store.purge(ended_before=0.0, keep=4) == many - 7
        assert store.ended(99) == made[:-5:-1]
        assert store.live() == [live]
    with connected(empty) as db:
        assert db.exec_driver_sql("SELECT count(*) FROM mirror").scalar() == 4


def test_all_or_nothing(empty: sa.URL) -> None:
    with opened(empty) as store:
        broken = replace(CAPTURE, id="c2", local_ip=None)  # type: ignore[arg-type]  # what the database refuses
        with pytest.raises(StoreError, match="cannot be written"):
            store.save([CAPTURE, broken])
        assert store.live() == []
        store.save([CAPTURE])
        assert store.live() == [CAPTURE]


def test_after_a_lost_connection_the_next_save_works(empty: sa.URL) -> None:
    with opened(empty) as store:
        store.save([CAPTURE])
        sever(empty)
        with pytest.raises(StoreError, match="cannot be written"):
            store.save([replace(CAPTURE, note="lost")])
        store.save([replace(CAPTURE, note="again")])
        assert [capture.note for capture in store.live()] == ["again"]
