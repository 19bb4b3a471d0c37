# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The formats of other makers: what is read, what is skipped, what is an error and where."""

import json

import pytest

from sentinel.blacklist.formats.parsed import Entry, FormatError, Parsed
from sentinel.blacklist.formats.registry import parse
from sentinel.limits import MAX_FEED_JSON_CHARS

FEODO = """# Last updated: 2026-04-04 #
"first_seen_utc","dst_ip","dst_port","c2_status","last_online","malware"
"2026-03-26 23:30:15","203.0.113.1","13783","online","2026-04-04","Pikabot"
"2026-04-04 07:03:03","203.0.113.2","5938","offline","2026-04-04","Qak, \"\"Bot\"\""
# END 2 entries
"""
DSHIELD = """# DShield.org Recommended Block List
Start\tEnd\tNetmask\tAttacks\tName\tCountry\temail
203.0.113.0\t203.0.113.255\t24\t9424\tNET-AS ,\tRU\ta@b.example
198.51.100.0\t198.51.100.255\t24
"""
TOR = """ExitNode 0011BD2485AD45D984EC4159C88FC066E5E3300E
Published 2026-06-01 10:00:00
LastStatus 2026-06-01 11:00:00
ExitAddress 203.0.113.1 2026-06-01 11:05:00
ExitAddress 2001:db8::1 2026-06-01 11:05:01
"""
ZEEK = """#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc
203.0.113.1\tIntel::ADDR\tLab\tx
203.0.113.0/24\tIntel::SUBNET\t-\tx
evil.example\tIntel::DOMAIN\tLab\tx
2001:db8::1\tIntel::ADDR\tLab\tx
"""
DROP = """{"cidr":"203.0.113.0/24","sblid":"SBL1","rir":"arin"}
{"cidr":"2001:db8::/32","sblid":"SBL2","rir":"arin"}
{"type":"metadata","timestamp":1,"records":2,"copyright":"(c)","terms":"https://terms.example/"}
"""


def listed(parsed: Parsed) -> list[tuple[str, str]]:
    return [(entry.prefix, entry.group) for entry in parsed.entries]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("feodo-csv", FEODO, [("203.0.113.1/32", "Pikabot"), ("203.0.113.2/32", 'Qak, "Bot"')]),
        ("feodo-csv", FEODO.split('"2026', maxsplit=1)[0], []),
        ("feodo-text", "# DstIP\n203.0.113.1\n# END 1 entries\n", [("203.0.113.1/32", "g")]),
        (
            "feodo-json",
            '[{"ip_address": "203.0.113.1", "port": 443, "malware": "Q"}, {"ip_address": "2001:db8::1"}]',
            [("203.0.113.1/32", "Q"), ("2001:db8::1/128", "g")],
        ),
        ("feodo-json", "[]", []),
        ("dshield-block", DSHIELD, [("203.0.113.0/24", "g"), ("198.51.100.0/24", "g")]),
        ("tor-exit-addresses", TOR, [("203.0.113.1/32", "g"), ("2001:db8::1/128", "g")]),
        (
            "zeek-intel",
            ZEEK,
            [("203.0.113.1/32", "Lab"), ("203.0.113.0/24", "g"), ("2001:db8::1/128", "Lab")],
        ),
        ("spamhaus-drop", "; (c)\n203.0.113.0/24 ; SBL1\n", [("203.0.113.0/24", "g")]),
        ("spamhaus-drop-json", DROP, [("203.0.113.0/24", "g"), ("2001:db8::/32", "g")]),
        (
            "suricata-iprep",
            "#203.0.113.9,1,1\n203.0.113.1,10,100\n2001:db8::/32, 2, 127\n",
            [("203.0.113.1/32", "category 10"), ("2001:db8::/32", "category 2")],
        ),
        (
            "ipsum",
            "# IPsum\n203.0.113.1\t10\n203.0.113.2\t3\n",
            [("203.0.113.1/32", "level 10"), ("203.0.113.2/32", "level 3")],
        ),
        (
            "ranges",
            "# x\nBad: people:203.0.113.0-203.0.113.255\n203.0.113.6 - 203.0.113.7\n2001:db8::-2001:db8::1\n",
            [("203.0.113.0/24", "g"), ("203.0.113.6/31", "g"), ("2001:db8::/127", "g")],
        ),
        ("csv", "when;Source IP;IP\n1;x;203.0.113.1\n2;x;\n", [("203.0.113.1/32", "g")]),
        ("csv", "# ip,score\n203.0.113.1,5\n# end\n", [("203.0.113.1/32", "g")]),
        ("csv", "cidr\tx\n203.0.113.0/24\ty\n", [("203.0.113.0/24", "g")]),
        (
            "misp-warninglist",
            '{"name": "n", "list": ["203.0.113.0/24", "x.example", 5, "2001:db8::1"]}',
            [("203.0.113.0/24", "g"), ("2001:db8::1/128", "g")],
        ),
    ],
)
def test_what_is_read(name: str, text: str, expected: list[tuple[str, str]]) -> None:
    for variant in (text, text.replace("\n", "\r\n"), "\n" + text):
        parsed = parse(name, variant, "g")
        assert parsed.errors == []
        assert listed(parsed) == expected


def test_a_named_column() -> None:
    text = "src_ip,Attacker\n10.0.0.1,203.0.113.1\n"
    assert listed(parse("csv", text, "g", "attacker")) == [("203.0.113.1/32", "g")]
    with pytest.raises(FormatError, match="no column victim"):
        parse("csv", text, "g", "victim")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("feodo-csv", FEODO.replace("203.0.113.2", "203.0.113"), 4),
        ("feodo-csv", FEODO.replace('"203.0.113.2"', '"203.0.113.2'), 4),
        ("feodo-csv", FEODO + '"only one"\n', 6),
        ("feodo-json", '[{"ip_address": "203.0.113.1"}, {"ip_address": 5}]', 2),
        ("dshield-block", DSHIELD.replace("198.51.100.255", "198.51.101.255"), 4),
        ("dshield-block", DSHIELD + "203.0.113.0 203.0.113.255 24\n", 5),
        ("tor-exit-addresses", TOR + "ExitAddress\n", 6),
        ("tor-exit-addresses", TOR + "203.0.113.1\n", 6),
        ("zeek-intel", ZEEK + "203.0.113.1 Intel::ADDR\n", 6),
        ("zeek-intel", ZEEK + "203.0.113\tIntel::ADDR\tx\tx\n", 6),
        ("spamhaus-drop-json", "{\n" + DROP, 1),
        ("spamhaus-drop-json", "[1]\n" + DROP, 1),
        ("spamhaus-drop-json", '{"asn": 5}\n' + DROP, 1),
        ("spamhaus-drop-json", "[" * 4000 + "\n" + DROP, 1),
        ("suricata-iprep", "203.0.113.1,1\n", 1),
        ("suricata-iprep", "203.0.113.1,one,1\n", 1),
        ("ipsum", "203.0.113.1 5\n", 1),
        ("ipsum", "203.0.113.1\t٥\n", 1),
        ("ranges", "203.0.113.1\n", 1),
        ("ranges", "x:203.0.113.9-203.0.113.1\n", 1),
        ("ranges", "203.0.113.1-2001:db8::1\n", 1),
    ],
)
def test_the_line_that_is_wrong_is_named(name: str, text: str, line: int) -> None:
    parsed = parse(name, text, "g")
    assert [error.line for error in parsed.errors] == [line]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("feodo-csv", "203.0.113.1,x\n", "format"),
        ("feodo-json", '{"ip_address": "203.0.113.1"}', "format"),
        ("feodo-json", "[1]", "format"),
        ("feodo-json", "", "format"),
        ("feodo-json", "[" * 100_000, "format"),
        ("feodo-json", "[" + " " * MAX_FEED_JSON_CHARS + "]", "too-large"),
        ("zeek-intel", "203.0.113.1\tIntel::ADDR\n", "format"),
        ("spamhaus-drop-json", DROP.rsplit("{", 1)[0], "truncated"),
        ("stix", "[]", "format"),
        ("stix", '{"objects": {}}', "format"),
        ("stix", '{"objects": [5]}', "format"),
        ("misp-event", '{"x": 1}', "format"),
        ("misp-event", '{"Event": 5}', "format"),
        ("misp-event", '{"Attribute": {"type": "ip-dst"}}', "format"),
        ("misp-warninglist", '{"list": "203.0.113.1"}', "format"),
    ],
)
def test_a_file_of_another_format_is_refused(name: str, text: str, reason: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(name, text, "g")
    assert caught.value.reason == reason


def test_counts_a_file_gives_of_itself() -> None:
    assert parse("spamhaus-drop-json", DROP, "g").declared_entries == 2
    assert parse("feodo-text", "203.0.113.1\n# END 3 entries\n", "g").declared_entries == 3
    assert parse("feodo-text", "203.0.113.1\n", "g").declared_entries is None


def test_scores_are_confidence() -> None:
    parsed = parse("suricata-iprep", "203.0.113.1,1,0\n203.0.113.2,1,127\n203.0.113.3,1,999\n", "g")
    assert [entry.confidence for entry in parsed.entries] == [0, 100, 100]


def bundle(**indicator: object) -> Parsed:
    item = {"type": "indicator", "pattern_type": "stix", "pattern": "[ipv4-addr:value = '203.0.113.1']"} | indicator
    return parse("stix", json.dumps({"type": "bundle", "objects": [{"type": "identity"}, item]}), "g")


@pytest.mark.parametrize(
    ("pattern", "prefixes"),
    [
        ("[ipv4-addr:value = '203.0.113.1']", ["203.0.113.1/32"]),
        ("[ipv4-addr:value='203.0.113.0/24']", ["203.0.113.0/24"]),
        ("[ipv4-addr:value ISSUBSET '203.0.113.0/24']", ["203.0.113.0/24"]),
        ("[ipv6-addr:value = '2001:db8::1']", ["2001:db8::1/128"]),
        ("[network-traffic:dst_ref.value = '203.0.113.1']", ["203.0.113.1/32"]),
        (
            "[ipv4-addr:value = '203.0.113.1' OR ipv4-addr:value='203.0.113.2'] OR ([ipv6-addr:value = '2001:db8::1'])",
            ["203.0.113.1/32", "203.0.113.2/32", "2001:db8::1/128"],
        ),
        ("[ipv4-addr:value = '203.0.113.1' AND network-traffic:dst_port = 443]", []),
        ("[ipv4-addr:value = '203.0.113.1'] FOLLOWEDBY [ipv4-addr:value = '203.0.113.2']", []),
        ("[ipv4-addr:value != '203.0.113.1']", []),
        ("[NOT ipv4-addr:value = '203.0.113.1']", []),
        ("[ipv4-addr:value = '203.0.113.1'] WITHIN 5 SECONDS", []),
        ("[domain-name:value = 'x.example' OR ipv4-addr:value = '203.0.113.1']", []),
        ("[file:hashes.md5 = '001dd76872d80801692ff942308c64e6']", []),
        ("", []),
    ],
)
def test_stix_patterns(pattern: str, prefixes: list[str]) -> None:
    parsed = bundle(pattern=pattern)
    assert [entry.prefix for entry in parsed.entries] == prefixes
    assert (parsed.skipped, parsed.error_count) == (0 if prefixes else 1, 0)


def test_stix_properties() -> None:
    (entry,) = bundle(
        indicator_types=["malicious-activity"], confidence=85, valid_until="1970-01-02T00:00:00.000Z"
    ).entries
    assert entry == Entry("203.0.113.1/32", "malicious-activity", 2, 86_400.0, 85)
    assert bundle(labels=["c2"]).entries[0].group == "c2"
    assert bundle(confidence=True).entries[0].confidence is None
    assert bundle(confidence=101).entries[0].confidence is None
    assert bundle(revoked=True).skipped == 1
    assert bundle(pattern_type="snort").skipped == 1
    assert bundle(valid_until="soon").errors[0].line == 2
    assert bundle(pattern="[ipv4-addr:value = 'here']").errors[0].reason == "not an IP address"
    assert bundle(pattern="x" * 10_000).error_count == 1


def test_misp_events() -> None:
    attributes = [
        {"type": "ip-dst", "value": "203.0.113.1", "to_ids": True, "category": "Network activity"},
        {"type": "ip-src|port", "value": "203.0.113.2|443", "to_ids": True},
        {"type": "ip-dst", "value": "203.0.113.3", "to_ids": False},
        {"type": "ip-dst", "value": "203.0.113.4", "to_ids": True, "deleted": True},
        {"type": "md5", "value": "x", "to_ids": True},
    ]
    inner = [{"type": "domain|ip", "value": "x.example|203.0.113.5", "to_ids": True}]
    event = {"info": "i", "Attribute": attributes, "Object": [{"Attribute": inner}]}
    for document in (event, {"Event": event}):
        parsed = parse("misp-event", json.dumps(document), "g")
        assert listed(parsed) == [
            ("203.0.113.1/32", "Network activity"),
            ("203.0.113.2/32", "g"),
            ("203.0.113.5/32", "g"),
        ]
        assert (parsed.skipped, parsed.errors) == (3, [])
