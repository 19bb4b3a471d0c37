# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Real lists give the number of entries their index says, and every line that is dropped has a reason."""

import re
import time
from pathlib import Path

import pytest

from sentinel.blacklist.formats.parsed import FormatError
from sentinel.blacklist.formats.registry import FORMATS
from sentinel.blacklist.networks import Networks
from sentinel.blacklist.rules import sift
from sentinel.blacklist.text import decode
from sentinel.blacklist.trie import Blacklist

DATA = Path(__file__).parents[3].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real lists are not distributed")
LOCAL = Networks(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"])

# What is not a plain list, by the beginning of its name; an empty format is no list of addresses at all.
FORMAT_OF = {
    "et-emerging-Block": "et-block",
    "et-emerging-IPTABLES": "",
    "abusech": "feodo-csv",
    "dshield-block": "dshield-block",
    "ipsum.txt": "ipsum",
    "misp": "misp-event",
    "spamhaus-drop_v4": "spamhaus-drop-json",
    "spamhaus-dropv6": "spamhaus-drop",
    "spamhaus-secops-asn": "",
    "stix": "stix",
    "suricata-iprep-02": "",
    "suricata": "suricata-iprep",
    "zeek": "zeek-intel",
}
# An attribute that is only context (to_ids is false) is no indicator, though the index counts it.
CONTEXT_ONLY = {"misp-long_event.json": 1}
# Lists of what nobody should route; else only stray lines.
REJECTED = {
    "cps-sans.txt": {"reserved": 7},
    "firehol-cidr_report_bogons.netset": {"floor": 1, "reserved": 15},
    "firehol-firehol_level1.netset": {"floor": 1, "reserved": 11},
    "stix-indicator-for-c2-ip-address.json": {"local": 1},
    "suricata-iprep-07-bug-6834-src-cidr.list": {"local": 1},
}


def index() -> dict[str, int]:
    """Usable entries by file name."""
    text = (DATA / "INDEX.md").read_text(encoding="utf-8") if DATA.is_dir() else ""
    rows = re.findall(r"^\| ([\w.-]+) \|.*\| (\d+) usable IP/net entries", text, re.MULTILINE)
    return {name: int(count) for name, count in rows if (DATA / "feeds" / name).is_file()}


def format_of(name: str) -> str:
    return next((found for start, found in FORMAT_OF.items() if name.startswith(start)), "plain")


READABLE = sorted(name for name in index() if format_of(name))


@pytest.mark.parametrize("name", READABLE)
def test_every_entry_is_read(name: str) -> None:
    parsed = FORMATS[format_of(name)](decode((DATA / "feeds" / name).read_bytes()), "g")
    assert (len(parsed.entries), parsed.error_count) == (index()[name] - CONTEXT_ONLY.get(name, 0), 0)
    sifted = sift(name, parsed.entries, LOCAL, reserved_is_legal=False, now=time.time())
    assert len(sifted.entries) + sifted.duplicates + sum(sifted.rejected.values()) == len(parsed.entries)
    if name in REJECTED:
        assert {reason: count for reason, count in sifted.rejected.items() if count} == REJECTED[name]
    else:
        assert sum(sifted.rejected.values()) <= 0.001 * len(parsed.entries)


@pytest.mark.parametrize("name", ["et-emerging-IPTABLES-DSHIELD.2016.rules", "spamhaus-secops-asn_drop.json"])
@pytest.mark.parametrize("format_name", sorted(FORMATS))
def test_what_is_no_list_is_read_as_none(name: str, format_name: str) -> None:
    try:
        parsed = FORMATS[format_name](decode((DATA / "feeds" / name).read_bytes()), "g")
    except FormatError:
        return
    assert parsed.entries == []


def test_the_block_list_has_its_groups() -> None:
    parsed = FORMATS["et-block"](decode((DATA / "feeds/et-emerging-Block-IPs.2016.txt").read_bytes()), "block")
    counts: dict[str, int] = {}
    for entry in parsed.entries:
        counts[entry.group] = counts.get(entry.group, 0) + 1
    assert counts == {
        "Feodo": 749,
        "Zeus": 137,
        "Palevo": 12,
        "Spamhaus DROP Nets": 816,
        "Dshield Top Attackers": 20,
    }
    assert parsed.revision == "4452"


def test_a_quarter_million_lines_take_about_a_second() -> None:
    data = (DATA / "feeds/firehol-stopforumspam_180d.ipset").read_bytes()
    parsed = FORMATS["plain"](decode(data), "g")
    sifted = sift("f", parsed.entries, LOCAL, reserved_is_legal=False, now=0.0)
    blacklist = Blacklist.build({"f": sifted.entries})
    assert len(blacklist) == len(sifted.entries) == 243_733
