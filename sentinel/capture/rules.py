# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A pair as ACL lines, in the form of "RESTful control of Cumulus Linux ACLs" (2014)."""

RULE_PREFIX = "sentinel_"


def rule_name(capture_id: str) -> str:
    """The name of the capture's rule on a switch; the prefix tells ours from other people's."""
    return RULE_PREFIX + capture_id


def is_ours(rule: str) -> bool:
    return rule.startswith(RULE_PREFIX)


def rule_lines(
    pair: tuple[str, str], *, in_interface: str, erspan_source: str, erspan_destination: str, ttl: int | None
) -> tuple[str, ...]:
    """Both directions between exactly two hosts. Addresses without a length: never wider than /32 or /128."""
    section = "[ip6tables]" if ":" in pair[0] else "[iptables]"
    target = f"-j ERSPAN --src-ip {erspan_source} --dst-ip {erspan_destination}"
    if ttl is not None:
        target += f" --ttl {ttl}"
    return (
        section,
        *(f"-A FORWARD --in-interface {in_interface} -s {a} -d {b} {target}" for a, b in (pair, pair[::-1])),
    )


def entry_count(lines: tuple[str, ...]) -> int:
    """How many ACL entries these lines take in the switch."""
    return sum(1 for line in lines if line.startswith("-A "))
