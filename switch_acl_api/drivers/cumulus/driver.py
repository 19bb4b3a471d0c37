# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Cumulus Linux: the rule files are read by ``cl-acltool -i``, which installs them in kernel and ASIC.

Never ``-P``: it removes everybody else's rules. ``-L all -N -x`` lists with addresses and exact counters; versions that
do not know ``-N`` and ``-x`` are asked without.
"""

import shutil
from typing import Any, Dict, List, Sequence, Tuple

from switch_acl_api.clock import BootClock
from switch_acl_api.drivers.base import Count, Driver, OwnAddresses, Target
from switch_acl_api.drivers.cumulus.listing import error_text, find_blame, parse_listing
from switch_acl_api.drivers.cumulus.settings import CumulusSettings
from switch_acl_api.drivers.own import OwnAddressBook
from switch_acl_api.errors import CommitError, ListingError
from switch_acl_api.grammar import RuleKey
from switch_acl_api.limits import MAX_LISTING_BYTES, MAX_TOOL_OUTPUT_BYTES
from switch_acl_api.reach import Reach
from switch_acl_api.settings import Settings
from switch_acl_api.tools import output_lines, run_tool


def make(settings: Settings, clock: BootClock) -> Driver:  # noqa: ARG001 -- cl-acltool knows no leases
    return CumulusDriver(settings.own, settings.commit_timeout_s, settings.erspan_destinations)


class CumulusDriver(Driver):
    """``timeout_s`` bounds one run of the tool."""

    name = "cumulus"
    knows_addresses = True
    reads_files = True

    def __init__(self, own: CumulusSettings, timeout_s: float, erspan_destinations: Sequence[str]) -> None:
        self.reads_back = own.verify
        self._tool = own.cl_acltool
        self._timeout_s = timeout_s
        self._reach = Reach(erspan_destinations, own.ip, own.ping, own.management)
        self._plain_listing = False
        self._own = OwnAddressBook(own.ip)

    def start(self) -> None:
        if shutil.which(self._tool) is None:
            raise FileNotFoundError("no such program: {}".format(self._tool))
        self._reach.start()

    def stop(self) -> None:
        self._reach.stop()

    def commit(self, targets: Sequence[Target], keep_fds: Tuple[int, ...] = ()) -> None:  # noqa: ARG002 -- in policy.d
        try:
            result = run_tool(
                [self._tool, "-i"], self._timeout_s, MAX_TOOL_OUTPUT_BYTES, keep_fds=keep_fds, outlive=True
            )
        except OSError as error:
            raise CommitError("broken", "{} cannot be run: {}".format(self._tool, error.strerror)) from error
        lines = output_lines(result.text)
        if result.returncode is None:
            raise CommitError("timeout", "{} -i did not end within {:g}s".format(self._tool, self._timeout_s), lines)
        # A failing hardware installation is said in words; whether the exit code says so too depends on the version.
        if result.returncode != 0 or any(line.lower().startswith("error:") for line in lines):
            blame = find_blame(lines)
            raise CommitError("rejected", error_text(lines), lines, result.returncode or 1, blame.file, blame.line)

    def installed(self) -> Dict[RuleKey, Count]:
        try:
            return parse_listing(self._list())
        except OSError as error:
            raise ListingError("{} cannot be run: {}".format(self._tool, error.strerror)) from error

    def own_addresses(self) -> OwnAddresses:
        return self._own.now()

    def reach(self) -> List[Dict[str, Any]]:
        return self._reach.now()

    def _list(self) -> str:
        options = [] if self._plain_listing else ["-N", "-x"]
        result = run_tool([self._tool, "-L", "all", *options], self._timeout_s, MAX_LISTING_BYTES)
        if result.returncode == 2 and options:  # argparse's "unrecognized arguments"
            self._plain_listing = True
            return self._list()
        if result.returncode is None:
            raise ListingError("{} -L all did not end within {:g}s".format(self._tool, self._timeout_s))
        if result.returncode != 0:
            said = error_text(output_lines(result.text))
            raise ListingError("{} -L all failed: {}".format(self._tool, said))
        return result.text
