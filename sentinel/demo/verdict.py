# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Did the whole loop really happen? Evidence in, what is missing out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Evidence:
    """One episode, from its first frame to the end of its capture.

    ``sent`` is what the pair said, with the monotonic time of each frame; ``mirrored_at`` when the rule was known to be
    installed; ``captured`` the frames of the file; ``rules_seen`` the switches on which a rule was found meanwhile;
    ``rules_left`` what each switch has now (``None`` where it doesn't answer).
    """

    switch: str
    detected: bool
    mirrored_at: float | None
    stopped: bool
    ended: bool
    sent: Sequence[tuple[float, bytes]]
    captured: Sequence[bytes]
    rules_seen: Mapping[str, frozenset[str]]
    rules_left: Mapping[str, Sequence[str] | None]


def missing(evidence: Evidence) -> list[str]:
    """What did not happen, in the order it should have; nothing when all of it did."""
    found = []
    if not evidence.detected:
        found.append("the conversation was never detected")
    if evidence.mirrored_at is None:
        found.append(f"no rule was installed on {evidence.switch}")
    found += _rules_seen(evidence)
    if not evidence.stopped:
        found.append("there was no time for the host to stop")
    found += _frames(evidence)
    if not evidence.ended:
        found.append("the capture did not end after the conversation went quiet")
    for switch, rules in sorted(evidence.rules_left.items()):
        if rules is None:
            found.append(f"{switch} does not say which rules it has")
        elif rules:
            found.append(f"{switch} still has {', '.join(rules)}")
    return found


def _rules_seen(evidence: Evidence) -> list[str]:
    found = []
    if evidence.mirrored_at is not None and not evidence.rules_seen.get(evidence.switch):
        found.append(f"{evidence.switch} itself never listed the rule")
    elsewhere = sorted(switch for switch, rules in evidence.rules_seen.items() if rules and switch != evidence.switch)
    if elsewhere:
        found.append(f"a rule was on {', '.join(elsewhere)}, which should have none")
    many = sorted(rule for rules in evidence.rules_seen.values() for rule in rules)
    if len(many) > 1 and not elsewhere:
        found.append(f"there was more than one rule: {', '.join(many)}")
    return found


def _frames(evidence: Evidence) -> list[str]:
    """From its first frame on, the file must hold what the two hosts said: all of it, in order, nothing else."""
    captured = list(evidence.captured)
    if not captured:
        return ["no frame was captured"]
    frames = [frame for _, frame in evidence.sent]
    if captured != frames[len(frames) - len(captured) :]:
        strangers = len([frame for frame in captured if frame not in set(frames)])
        return [f"the file differs from what was said: {len(captured)} frames of {len(frames)}, {strangers} unknown"]
    if evidence.mirrored_at is None:
        return []
    due = sum(at > evidence.mirrored_at for at, _ in evidence.sent)
    return [f"{due - len(captured)} frames are missing since the rule was installed"] if due > len(captured) else []
