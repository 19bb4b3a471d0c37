# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The daemon: engine, application and server put together, until a signal ends it."""

import ipaddress
import logging
import os
import signal
import socket
import ssl
from typing import List, Optional

from switch_acl_api.app import create_app
from switch_acl_api.auth import Authenticator, check_secret, read_tokens
from switch_acl_api.clock import BootClock
from switch_acl_api.config import keep_settings, load_settings
from switch_acl_api.counters import Counters
from switch_acl_api.drivers.table import make_driver
from switch_acl_api.engine import Engine, Rulebook
from switch_acl_api.errors import AlreadyRunningError, ConfigError
from switch_acl_api.guard import Hosts
from switch_acl_api.policy import PolicyDir
from switch_acl_api.server import Server, bound_socket, tls_context
from switch_acl_api.settings import Settings
from switch_acl_api.version import SERVICE, VERSION

_log = logging.getLogger("switch_acl_api")


def serve(path: str) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code. ``path`` is the settings file.

    Raises ``ConfigError`` if that file, or one that it names, cannot be used.
    """
    settings = load_settings(path)
    tls = read_secrets(path, settings)
    counters = Counters()
    try:
        authenticator = Authenticator(settings.auth, settings.token_file, settings.auth_match)
        engine = _make_engine(settings, authenticator, counters)
        listener = bound_socket(*listen_address(settings))
    except OSError as error:
        return _cannot_start(error)
    app = create_app(engine, authenticator, counters, settings.max_requests_per_second, _hosts(settings, engine))
    server = Server(listener, app.wsgi_app, tls, counters)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    try:
        engine.start()
    except OSError as error:
        listener.close()
        return _cannot_start(error)
    except AlreadyRunningError as error:
        listener.close()
        _log.error("cannot start: %s; two shims would install more than either may", error)
        return 2
    try:
        keep_settings(path)
    except OSError as error:
        _log.warning("no copy of the settings for the hands that remove rules: %s", error)
    _run(server, engine, "https" if tls else "http")
    return 0


def read_secrets(path: str, settings: Settings) -> Optional[ssl.SSLContext]:
    """Return the TLS context, if TLS is configured; the tokens are only tried.

    Raises ``ConfigError`` with every file that cannot be used. ``path`` is the settings file that names them.
    """
    findings: List[str] = []
    tls = None
    if "token" in settings.auth and settings.token_file is not None:
        try:
            read_tokens(settings.token_file)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            findings.append('token_file = "{}": {}'.format(settings.token_file, reason))
    if settings.tls_cert is not None and settings.tls_key is not None:
        try:
            check_secret(settings.tls_key)
            tls = tls_context(settings.tls_cert, settings.tls_key, settings.client_ca)
        except (OSError, ValueError) as error:
            findings.append("tls_cert, tls_key, client_ca: {}".format(error))
    if findings:
        raise ConfigError(path, findings)
    return tls


def _hosts(settings: Settings, engine: Engine) -> Optional[Hosts]:
    """With authentication none: a page of a stranger has no token, and ``Origin`` is refused anyway."""
    return None if settings.auth else Hosts(settings.hosts, lambda: engine.driver.own_addresses().own)


def _make_engine(settings: Settings, authenticator: Authenticator, counters: Counters) -> Engine:
    """Return the engine, not started. Raises ``OSError``."""
    clock = BootClock(settings.boot_id_file)
    book = Rulebook(
        settings.erspan_destinations,
        settings.ports,
        settings.max_rules,
        settings.default_ttl_s,
        settings.max_ttl_s,
        settings.erspan_sources,
        bool(settings.auth),
        settings.max_rules_per_owner,
        settings.max_names_per_owner,
    )
    return Engine(
        PolicyDir(settings.policy_dir, settings.state_dir),
        make_driver(settings, clock),
        clock,
        book,
        settings.commit_interval_s,
        counters,
        heartbeat=lambda: notify("WATCHDOG=1"),
        owners=authenticator.owners,
    )


def listen_address(settings: Settings) -> "tuple[str, int]":
    """Return where to listen: loopback without TLS or without any authentication, unless ``insecure``."""
    host, port = settings.listen
    address = ipaddress.ip_address(host)
    if settings.exposed or address.is_loopback:
        return host, port
    loopback = "::1" if address.version == 6 else "127.0.0.1"
    _log.warning("listening on %s instead of %s: needs TLS and authentication, or insecure = true", loopback, host)
    return loopback, port


def _cannot_start(error: OSError) -> int:
    _log.error("cannot start: %s", error)
    return 1


def _run(server: Server, engine: Engine, scheme: str) -> None:
    """Serve until the server is stopped; ``engine`` runs already and is stopped too."""
    _log.info("%s %s listening on %s://%s:%d, driver %s", SERVICE, VERSION, scheme, *server.address, engine.driver.name)
    notify("READY=1")
    try:
        server.serve()
    finally:
        notify("STOPPING=1")
        engine.stop()


def notify(state: str) -> None:
    """Send one word to systemd (sd_notify(3)), if systemd started this process."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(state.encode("ascii"), address)
        except OSError as error:
            _log.warning("sd_notify: %s", error)
