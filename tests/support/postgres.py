# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of a test's own: a fresh cluster in a temporary folder, on loopback, stopped by ``pg_ctl``."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from tests.support.ports import free_port

# No test here loses power, and none needs the machine's own language.
_SETTINGS = "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c deadlock_timeout=200ms"


def initdb() -> Path | None:
    """Return the program that makes a cluster, or ``None``; Debian keeps it out of the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve()
    return max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), default=None)


@contextmanager
def server(maker: Path) -> Iterator[sa.URL]:
    """Run a server and yield the URL of its maintenance database."""
    # The server refuses to run as root, and may not read pytest's own folders.
    user = _unprivileged() if os.geteuid() == 0 else None
    run = partial(subprocess.run, check=True, user=user, stdin=subprocess.DEVNULL, timeout=60, cwd="/")
    with tempfile.TemporaryDirectory(prefix="sentinel-postgres-") as name:
        folder, data, log = Path(name), Path(name) / "data", Path(name) / "log"
        secret = folder / "password"
        secret.write_text(secrets.token_hex(16))
        if user is not None:
            for path in (folder, secret):
                shutil.chown(path, user)
        own = ("--auth=scram-sha-256", "--username=sentinel", f"--pwfile={secret}")
        run([maker, "-D", data, *own, "--encoding=UTF8", "--locale=C", "--no-sync"], stdout=subprocess.DEVNULL)
        port = free_port("127.0.0.1")
        control = maker.with_name("pg_ctl")
        settings = f"-p {port} {_SETTINGS}"
        run([control, "-D", data, "-l", log, "-o", settings, "-w", "-s", "start"])
        try:
            yield sa.URL.create("postgresql+psycopg", "sentinel", secret.read_text(), "127.0.0.1", port, "postgres")
        finally:
            run([control, "-D", data, "-m", "fast", "-w", "-s", "stop"])


@contextmanager
def database(server_url: sa.URL) -> Iterator[sa.URL]:
    """Make an empty database, yield its URL, and drop it."""
    name = f"t{secrets.token_hex(6)}"
    engine = sa.create_engine(server_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as db:
        db.exec_driver_sql(f"CREATE DATABASE {name}")
        try:
            yield server_url.set(database=name)
        finally:
            db.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def _unprivileged() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
