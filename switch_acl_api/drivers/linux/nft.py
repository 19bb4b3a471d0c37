# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Running ``nft``: our table out, scripts in. A script is one transaction: all of it happens, or nothing."""

import shutil
import tempfile
from typing import List, Tuple

from switch_acl_api.drivers.linux.nft_table import ABSENT, TABLE, Table, read_table
from switch_acl_api.errors import CommitError, ListingError
from switch_acl_api.limits import MAX_NFT_LISTING_BYTES, MAX_TOOL_OUTPUT_BYTES, NFT_TIMEOUT_S
from switch_acl_api.tools import ToolResult, output_lines, run_tool


class Nft:
    """``program`` is ``nft``; ``timeout_s`` bounds one run."""

    def __init__(self, program: str, timeout_s: float = NFT_TIMEOUT_S) -> None:
        self._program = program
        self._timeout_s = timeout_s

    @property
    def is_there(self) -> bool:
        return shutil.which(self._program) is not None

    def table(self) -> Table:
        """Raises ``ListingError``."""
        try:
            result = self._run(["-j", "list", "table", "netdev", TABLE], MAX_NFT_LISTING_BYTES)
        except OSError as error:
            raise ListingError("{} cannot be run: {}".format(self._program, error.strerror)) from error
        if result.returncode is None:
            raise ListingError("{} list did not end within {:g}s".format(self._program, self._timeout_s))
        if result.returncode != 0:
            if "No such file or directory" in result.text:
                return ABSENT
            raise ListingError("{} list failed: {}".format(self._program, _said(output_lines(result.text))))
        try:
            return read_table(result.text)
        except ValueError as error:
            raise ListingError(str(error)) from error

    def apply(self, script: str, keep_fds: Tuple[int, ...] = (), check: bool = False) -> None:
        """``check`` asks the kernel whether it would, and changes nothing. Raises ``CommitError``."""
        with tempfile.TemporaryFile("w", encoding="ascii") as file:
            file.write(script)
            file.flush()
            options = ["-c"] if check else []
            arguments = [*options, "-f", "/proc/self/fd/{}".format(file.fileno())]
            try:
                result = self._run(arguments, MAX_TOOL_OUTPUT_BYTES, (file.fileno(), *keep_fds))
            except OSError as error:
                raise CommitError("broken", "{} cannot be run: {}".format(self._program, error.strerror)) from error
        lines = output_lines(result.text)
        if result.returncode is None:
            raise CommitError("timeout", "{} did not end within {:g}s".format(self._program, self._timeout_s), lines)
        if result.returncode != 0:
            raise CommitError("rejected", _said(lines), lines, result.returncode)

    def _run(self, arguments: List[str], max_bytes: int, keep_fds: Tuple[int, ...] = ()) -> ToolResult:
        return run_tool([self._program, *arguments], self._timeout_s, max_bytes, keep_fds)


def _said(lines: List[str]) -> str:
    """``/proc/self/fd/7:3:1-20: Error: …`` without the place, which is in no file that anybody has."""
    for line in lines:
        _, found, words = line.partition("Error: ")
        if found:
            return "error: " + words
    return "error: " + (lines[-1] if lines else "no output")
