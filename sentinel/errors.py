# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The two families of failure: the outside misbehaved, or we did.

An ``OutsideError`` is expected in operation: it is counted, shown, and never ends the daemon.
Everything else that escapes is a bug and is allowed to be loud.
"""

from typing import Literal, get_args

# Reasons of refused downloads; each is a label of a metric.
FeedReason = Literal[
    "archive",
    "client-cert",
    "connect",
    "empty",
    "encoding",
    "file",
    "format",
    "grown",
    "header",
    "html",
    "http-1xx",
    "http-2xx",
    "http-3xx",
    "http-4xx",
    "http-5xx",
    "http-other",
    "redirect",
    "retry-later",
    "shrunk",
    "timeout",
    "tls",
    "token",
    "too-large",
    "too-many-entries",
    "too-many-lines",
    "transfer",
    "truncated",
    "unreadable",
]
FEED_REASONS: tuple[FeedReason, ...] = get_args(FeedReason)

# Reasons why octets cannot be decoded; those of sFlow datagrams are labels of a metric.
DecodeCode = Literal[
    # In any protocol: fewer octets than a header or a count claims.
    "truncated",
    # sFlow datagrams.
    "too_long",
    "version",
    "agent_address",
    "address",
    # Recorded frames, down to whole IP packets.
    "link_type",
    "vlan_tags",
    "not_ip",
    "ip_version",
    "ip_length",
    "extension_headers",
    "fragment_refused",
    "fragment_truncated",
    "fragment_empty",
    "fragment_unaligned",
    "fragment_too_long",
    "fragment_too_many",
    "fragment_beyond_last",
    "fragment_before_end",
    "fragment_overlap",
    # Mirrored packets.
    "fragment",
    "not_mirrored",
    "udp_length",
    "source_routes",
    "erspan_version",
    "no_frame",
]


class SentinelError(Exception):
    """Base of every error this project raises on purpose."""


class OutsideError(SentinelError):
    """A datagram, a feed, a switch or a person gave us something unusable."""


class DecodeError(OutsideError):
    """Bytes that are not what their header claims: ``code`` for programs, ``reason`` for people.

    ``offset`` counts octets from the start of the datagram (or packet) the error was found in;
    ``sample_format`` is the ``enterprise:format`` tag of the sample, where one was open.
    """

    def __init__(self, code: DecodeCode, reason: str, offset: int, sample_format: str | None = None) -> None:
        where = f" in sample {sample_format}" if sample_format else ""
        super().__init__(f"{reason} at offset {offset}{where}")
        self.code = code
        self.reason = reason
        self.offset = offset
        self.sample_format = sample_format


class FeedError(OutsideError):
    """A feed that cannot take the place of its last good copy. ``reason`` is a counter label."""

    def __init__(self, feed: str, reason: FeedReason, detail: str) -> None:
        super().__init__(f"feed {feed}: {detail}")
        self.feed = feed
        self.reason = reason
        self.detail = detail


class SwitchError(OutsideError):
    """A switch that did not do as asked.

    ``permanent`` tells a refusal of this very rule (do not repeat it there) from trouble that may pass.
    """

    def __init__(self, switch: str, reason: str, detail: str, *, permanent: bool = False) -> None:
        super().__init__(f"switch {switch}: {detail}")
        self.switch = switch
        self.reason = reason
        self.detail = detail
        self.permanent = permanent


class RecordingError(OutsideError):
    """A capture file that cannot be read, or not to its end."""


class StoreError(OutsideError):
    """The database is full, locked, corrupt, or of a newer schema."""


class ConfigError(OutsideError):
    """Everything that is wrong with a configuration, all at once: one line per finding."""

    def __init__(self, source: str, findings: list[str]) -> None:
        super().__init__("\n".join(f"{source}: {line}" for line in findings))
        self.source = source
        self.findings = findings


class Refused(OutsideError):  # noqa: N818 - an answer to a request, as the word says
    """A request of a person that is understood and not granted; ``reason`` is shown to that person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotFound(OutsideError):  # noqa: N818 - likewise
    """No such capture, feed or detection."""
