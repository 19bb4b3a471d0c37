# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The two families of failure: the outside misbehaved (a client, a file, a tool), or we did (anything else)."""

from typing import Any, Dict, List, Optional


class ShimError(Exception):
    """Base of every error the shim raises on purpose."""


class RuleError(ShimError):
    """A line that is no rule of ours. ``line`` counts from 1 in the array that was sent."""

    def __init__(self, line: int, token: str, reason: str) -> None:
        super().__init__("line {}: {}: {}".format(line, token, reason) if token else "line {}: {}".format(line, reason))
        self.line = line
        self.token = token
        self.reason = reason


class Refused(ShimError):  # noqa: N818 -- an answer, not a fault
    """An answer other than success: HTTP status and the fields of its JSON body besides ``error``."""

    def __init__(self, status: int, error: str, **fields: Any) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.fields: Dict[str, Any] = fields


class CommitError(ShimError):
    """The data plane did not take the policy.

    ``kind`` is ``rejected``, ``timeout``, ``unverified`` or ``broken`` (the tool cannot be run); ``file`` and ``line``
    are what the tool named, if anything.
    """

    def __init__(
        self,
        kind: str,
        error: str,
        output: Optional[List[str]] = None,
        returncode: int = 1,
        file: Optional[str] = None,
        line: Optional[int] = None,
    ) -> None:
        super().__init__(error)
        self.kind = kind
        self.error = error
        self.output: List[str] = output or []
        self.returncode = returncode
        self.file = file
        self.line = line


class NoRoomError(ShimError):
    """A state file would grow beyond what is read of it again."""


class ListingError(ShimError):
    """The data plane did not tell what is installed."""


class LockBusyError(ShimError):
    """Another process has been committing for too long."""


class AlreadyRunningError(ShimError):
    """Another shim works on the same state folder."""


class ConfigError(ShimError):
    """Everything that is wrong with a configuration: one line per finding."""

    def __init__(self, source: str, findings: List[str]) -> None:
        super().__init__("\n".join("{}: {}".format(source, finding) for finding in findings))
        self.source = source
        self.findings = findings
