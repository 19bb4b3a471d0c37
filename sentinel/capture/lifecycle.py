# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The legal lives of a capture and of a mirror, as two literals. ARCHITECTURE.md's picture is generated from them."""

from collections.abc import Mapping

from sentinel.model import CaptureState, MirrorState

CAPTURE_EDGES: Mapping[CaptureState, tuple[CaptureState, ...]] = {
    "wanted": ("pending", "queued", "installing"),
    "pending": ("queued", "installing", "ended"),
    "queued": ("installing", "ended"),
    "installing": ("active", "failed", "removing"),
    "active": ("installing", "removing"),
    "removing": ("ended", "failed"),
    "failed": ("installing", "removing", "queued", "ended"),
    "ended": (),
}

MIRROR_EDGES: Mapping[MirrorState, tuple[MirrorState, ...]] = {
    "planned": ("planned", "installing", "ended"),
    "installing": ("active", "failed", "removing"),
    "active": ("installing", "removing"),
    "removing": ("ended", "failed"),
    "failed": ("installing", "removing"),
    "ended": (),
}


class IllegalTransitionError(RuntimeError):
    """A step the table does not know: a bug of ours, never the outside's doing."""


def check_capture(old: CaptureState, new: CaptureState) -> None:
    """Raise ``IllegalTransitionError`` unless the table has this edge."""
    if new not in CAPTURE_EDGES[old]:
        raise IllegalTransitionError(f"capture: {old} -> {new}")


def check_mirror(old: MirrorState, new: MirrorState) -> None:
    """Raise ``IllegalTransitionError`` unless the table has this edge."""
    if new not in MIRROR_EDGES[old]:
        raise IllegalTransitionError(f"mirror: {old} -> {new}")


def picture() -> str:
    """The capture table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> wanted"]
    lines += [f"    {old} --> {new}" for old, news in CAPTURE_EDGES.items() for new in news]
    return "\n".join([*lines, "    ended --> [*]"])
