# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``switch-acl-api [-c FILE] [expire [--boot]]``. Exit codes: 0 ok, 1 something failed, 2 usage or configuration."""

import argparse
import ipaddress
import logging
import os
import signal
import socket
import sys
from typing import List, Optional

from switch_acl_api.clock import BootClock
from switch_acl_api.config import DEFAULT_PATH, Settings, load_settings, read_settings
from switch_acl_api.drivers.base import Driver
from switch_acl_api.errors import ConfigError
from switch_acl_api.policy import PolicyDir
from switch_acl_api.version import SERVICE, VERSION

_log = logging.getLogger("switch_acl_api")


def main(argv: Optional[List[str]] = None) -> int:
    arguments = _parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        if arguments.command == "expire":
            return _expire(arguments.config, arguments.boot)
        return _serve(arguments.config)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(line, file=sys.stderr)  # noqa: T201 -- a person reads this
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=SERVICE, description="REST interface to this switch's ERSPAN rules")
    parser.add_argument("-c", "--config", default=DEFAULT_PATH, metavar="FILE")
    parser.add_argument("--version", action="version", version="{} {}".format(SERVICE, VERSION))
    commands = parser.add_subparsers(dest="command")
    expire = commands.add_parser("expire", help="remove rules whose lease ran out, and end")
    expire.add_argument("--boot", action="store_true", help="before the policy is installed: remove files only")
    return parser


def make_driver(settings: Settings) -> Driver:
    """Only the cumulus driver is part of the switch's zipapp; the others are imported when named."""
    destinations = settings.erspan_destinations
    if settings.driver == "emulated":
        try:
            from switch_acl_api.drivers.emulated import EmulatedDriver  # noqa: PLC0415
        except ImportError:
            raise ConfigError("driver", ['"emulated" is not part of this installation']) from None
        return EmulatedDriver(erspan_destinations=destinations, **settings.emulated._asdict())
    if settings.driver == "linux":
        try:
            from switch_acl_api.drivers.linux import LinuxDriver  # noqa: PLC0415
        except ImportError:
            raise ConfigError("driver", ['"linux" is not part of this installation']) from None
        clock = BootClock(settings.boot_id_file)
        return LinuxDriver(clock, settings.ports, destinations, **settings.linux._asdict())
    if settings.driver == "ovs":
        from switch_acl_api.drivers.ovs import OvsDriver  # noqa: PLC0415

        return OvsDriver(settings.ovs, BootClock(settings.boot_id_file), settings.commit_timeout_s, destinations)
    from switch_acl_api.drivers.cumulus import CumulusDriver  # noqa: PLC0415

    tool = settings.cumulus
    return CumulusDriver(tool.cl_acltool, settings.commit_timeout_s, tool.ip, tool.ping, tool.management, destinations)


def _verify(settings: Settings) -> bool:
    return settings.cumulus.verify if settings.driver == "cumulus" else True


def _expire(path: str, boot: bool) -> int:
    from switch_acl_api.expire import expire  # noqa: PLC0415

    settings, findings = read_settings(path)
    for finding in findings:
        _log.error("%s: %s (going on without it)", path, finding)
    policy = PolicyDir(settings.policy_dir, settings.state_dir)
    try:
        clock = BootClock(settings.boot_id_file)
        code = expire(policy, make_driver(settings), clock, boot, _verify(settings))
    except OSError as error:
        _log.error("expire: %s", error)
        return 1
    return code or (2 if findings else 0)


def listen_address(settings: Settings) -> "tuple[str, int]":
    """Where to listen: without TLS, or without any authentication, on loopback unless ``insecure``."""
    host, port = settings.listen
    address = ipaddress.ip_address(host)
    if settings.exposed or address.is_loopback:
        return host, port
    loopback = "::1" if address.version == 6 else "127.0.0.1"
    _log.warning("listening on %s instead of %s: needs TLS and authentication, or insecure = true", loopback, host)
    return loopback, port


def _serve(path: str) -> int:
    # Flask takes a second to import on a switch; the expire timer does without.
    from switch_acl_api.app import create_app  # noqa: PLC0415
    from switch_acl_api.auth import Authenticator, read_tokens  # noqa: PLC0415
    from switch_acl_api.counters import Counters  # noqa: PLC0415
    from switch_acl_api.engine import Engine, Rulebook  # noqa: PLC0415
    from switch_acl_api.server import Server, bound_socket, tls_context  # noqa: PLC0415

    settings = load_settings(path)
    findings: List[str] = []
    tls = None
    if "token" in settings.auth and settings.token_file is not None:
        try:
            read_tokens(settings.token_file)
        except (OSError, ValueError) as error:
            findings.append(
                'token_file = "{}": {}'.format(settings.token_file, getattr(error, "strerror", None) or error)
            )
    if settings.tls_cert is not None and settings.tls_key is not None:
        try:
            tls = tls_context(settings.tls_cert, settings.tls_key, settings.client_ca)
        except OSError as error:
            findings.append("tls_cert, tls_key, client_ca: {}".format(error))
    if findings:
        raise ConfigError(path, findings)
    counters = Counters()
    try:
        engine = Engine(
            PolicyDir(settings.policy_dir, settings.state_dir),
            make_driver(settings),
            BootClock(settings.boot_id_file),
            Rulebook(
                settings.erspan_destinations,
                settings.ports,
                settings.max_rules,
                settings.default_ttl_s,
                settings.max_ttl_s,
            ),
            settings.commit_interval_s,
            counters,
            _verify(settings),
            heartbeat=lambda: notify("WATCHDOG=1"),
        )
        listener = bound_socket(*listen_address(settings))
    except OSError as error:
        _log.error("cannot start: %s", error)
        return 1
    app = create_app(engine, Authenticator(settings.auth, settings.token_file), counters)
    server = Server(listener, app.wsgi_app, tls, counters)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    try:
        engine.start()
    except OSError as error:
        listener.close()
        _log.error("cannot start: %s", error)
        return 1
    _log.info(
        "%s %s listening on %s://%s:%d, driver %s",
        SERVICE,
        VERSION,
        "https" if tls else "http",
        *server.address,
        engine.driver.name,
    )
    notify("READY=1")
    try:
        server.serve()
    finally:
        notify("STOPPING=1")
        engine.stop()
    return 0


def notify(state: str) -> None:
    """One word to systemd (sd_notify(3)); nothing where there is none."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(state.encode("ascii"), address)
        except OSError as error:
            _log.warning("sd_notify: %s", error)
