# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch's own programs, asked through the sockets in its run directory. Every question is bounded in time.

The sockets of ovsdb-server and ovs-vswitchd are in ``rundir``.
"""

import json
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from switch_acl_api.drivers.ovs.settings import OvsSettings
from switch_acl_api.errors import CommitError
from switch_acl_api.limits import MAX_FLOWS_BYTES, MAX_OVS_OUTPUT_BYTES, OVS_TOOL_TIMEOUT_S
from switch_acl_api.tools import output_lines, run_tool

# From 1.4 on bundles are part of OpenFlow; from 1.2 on a flow that is added again keeps its counters.
_OPENFLOW = "OpenFlow14"


class OvsTools:
    """Everything raises ``CommitError`` with what the program said."""

    def __init__(self, settings: OvsSettings, timeout_s: float) -> None:
        self.settings = settings
        self._run_dir = Path(settings.rundir)
        self._timeout_s = timeout_s

    def flows(self, filter_text: str) -> str:
        return self._ofctl(["--names", "dump-flows", self._bridge_socket, filter_text], MAX_FLOWS_BYTES)

    def ports(self) -> str:
        return self._ofctl(["show", self._bridge_socket], MAX_OVS_OUTPUT_BYTES)

    def do_not_flood(self, port: str) -> None:
        self._ofctl(["mod-port", self._bridge_socket, port, "no-flood"], MAX_OVS_OUTPUT_BYTES)

    def bundle(self, lines: Sequence[str], keep_fds: Tuple[int, ...]) -> None:
        """All of ``lines`` (as for ``ovs-ofctl add-flows``) or nothing, and no packet sees a half of it."""
        with tempfile.TemporaryFile() as file:
            file.write("".join(line + "\n" for line in lines).encode("ascii"))
            file.flush()
            path = "/dev/fd/{}".format(file.fileno())
            command = [self.settings.ovs_ofctl, "-O", _OPENFLOW, "--bundle", "add-flows", self._bridge_socket, path]
            self._ask(command, self._timeout_s, MAX_OVS_OUTPUT_BYTES, (*keep_fds, file.fileno()))

    def table(self, *question: str) -> List[Dict[str, Any]]:
        """Rows of the database: ``table("--columns=type", "find", "Interface", "name=br0")``."""
        return rows_of(self.vsctl("--format=json", *question))

    def vsctl(self, *words: str) -> str:
        """Waits for ovs-vswitchd when it changes something."""
        database = "--db=unix:{}".format(self._run_dir / "db.sock")
        limit = "--timeout={}".format(int(OVS_TOOL_TIMEOUT_S))
        command = [self.settings.ovs_vsctl, database, limit, *words]
        return self._ask(command, OVS_TOOL_TIMEOUT_S + 1, MAX_OVS_OUTPUT_BYTES)

    def appctl(self, *words: str) -> str:
        try:
            number = int((self._run_dir / "ovs-vswitchd.pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            raise CommitError("broken", "ovs-vswitchd does not run: no pid in {}".format(self._run_dir)) from None
        target = str(self._run_dir / "ovs-vswitchd.{}.ctl".format(number))
        command = [self.settings.ovs_appctl, "--timeout={}".format(int(OVS_TOOL_TIMEOUT_S)), "-t", target, *words]
        return self._ask(command, OVS_TOOL_TIMEOUT_S + 1, MAX_OVS_OUTPUT_BYTES)

    @property
    def _bridge_socket(self) -> str:
        return "unix:{}".format(self._run_dir / (self.settings.bridge + ".mgmt"))

    def _ofctl(self, words: Sequence[str], most: int) -> str:
        return self._ask([self.settings.ovs_ofctl, "-O", _OPENFLOW, *words], self._timeout_s, most)

    def _ask(self, command: List[str], seconds: float, most: int, keep_fds: Tuple[int, ...] = ()) -> str:
        what = Path(command[0]).name
        try:
            result = run_tool(command, seconds, most, keep_fds=keep_fds)
        except OSError as error:
            raise CommitError("broken", "{} cannot be run: {}".format(what, error.strerror)) from error
        lines = output_lines(result.text)
        if result.returncode is None:
            raise CommitError("timeout", "{} did not end within {:g}s".format(what, seconds), lines)
        if result.returncode != 0:
            said = lines[-1] if lines else "failed without a word"
            raise CommitError("broken", said, lines, result.returncode)
        return result.text


def rows_of(text: str) -> List[Dict[str, Any]]:
    """``--format=json`` of ovs-vsctl: one row per record; maps as dictionaries, sets as lists. Any text is survived."""
    try:
        table = json.loads(text)
        headings = table["headings"]
        return [{name: _value(cell) for name, cell in zip(headings, row)} for row in table["data"]]  # noqa: B905 -- 3.7
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _value(cell: Any) -> Any:
    if isinstance(cell, list) and len(cell) == 2 and isinstance(cell[1], list):
        if cell[0] == "map":
            return {str(pair[0]): pair[1] for pair in cell[1] if isinstance(pair, list) and len(pair) == 2}
        if cell[0] == "set":
            return list(cell[1])
    return cell
