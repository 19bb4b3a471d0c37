# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``switch-acl-api [-c FILE] [expire [--boot]]``. Exit codes: 0 ok, 1 something failed, 2 usage or configuration."""

import argparse
import logging
import sys
from typing import List, Optional

from switch_acl_api.clock import BootClock
from switch_acl_api.config import DEFAULT_PATH, settings_for_removal
from switch_acl_api.drivers.table import make_driver
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
        # Flask takes a second to import on a switch; the expire timer does without.
        from switch_acl_api.service import serve  # noqa: PLC0415

        return serve(arguments.config)
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


def _expire(path: str, boot: bool) -> int:
    from switch_acl_api.expire import expire  # noqa: PLC0415

    settings, findings = settings_for_removal(path)
    for finding in findings:
        _log.error("%s: %s (going on as at the last good start)", path, finding)
    policy = PolicyDir(settings.policy_dir, settings.state_dir)
    try:
        clock = BootClock(settings.boot_id_file)
        code = expire(policy, make_driver(settings, clock), clock, boot)
    except OSError as error:
        _log.error("expire: %s", error)
        return 1
    return code or (2 if findings else 0)
