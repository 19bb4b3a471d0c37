# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Record bodies: whole, older, newer, cut, lying."""

from struct import pack

import pytest

from sentinel.model import Record
from sentinel.sflow import records
from sentinel.sflow.cursor import Cursor


def words(*values: int) -> bytes:
    return pack(f">{len(values)}I", *values)


def counter(number: int, body: bytes, enterprise: int = 0) -> Record:
    return records.counter_record(enterprise << 12 | number, Cursor(body))


def flow(number: int, body: bytes) -> Record:
    return records.flow_record(number, Cursor(body))


def test_host_cpu_of_old_and_new_agents() -> None:
    loads = pack(">3f", 0.5, 1.0, 1.5)
    old, new = counter(2003, loads + words(*range(3, 17))), counter(2003, loads + words(*range(3, 20)))
    assert len(old.fields) == 17
    assert (old.fields["load_one"], old.fields["contexts"], "cpu_steal" in old.fields) == (0.5, 16, False)
    assert new.fields["cpu_guest_nice"] == 19
    assert "error" not in old.fields


def test_a_newer_agents_additions_are_passed_over() -> None:
    assert counter(2002, words(2, 1, 99)).fields == {"container_type": 2, "container_index": 1}
    assert flow(1007, words(1, 0x0A000001, 0, 5)).fields == {"src_address": "10.0.0.1"}


def test_a_body_that_ends_inside_a_field_keeps_the_fields_before_it() -> None:
    record = flow(1005, words(1, 3) + b"/a\0\0" + words(2**31) + b"host")
    assert record.fields["direction"] == 1
    assert record.fields["url"] == "/a\0"
    assert "host: opaque of 2147483648 octets" in str(record.fields["error"])


def test_unknown_records_have_no_fields() -> None:
    assert flow(4000, words(1)) == Record("0:4000", "unknown")
    assert counter(7, b"", 9) == Record("9:7", "unknown")


def test_the_interface_counters_are_88_octets() -> None:
    body = words(1, 6) + pack(">Q", 10**11) + words(1, 3) + pack(">Q", 2**40) + words(1, 2, 3, 4, 5, 6)
    body += pack(">Q", 2**64 - 1) + words(7, 8, 9, 10, 2**32 - 1, 0)
    assert len(body) == 88
    fields = counter(1, body).fields
    assert list(fields)[:5] == ["if_index", "if_type", "if_speed", "if_direction", "if_status"]
    assert fields["if_in_octets"] == 2**40
    # An unknown counter stays the number it came as.
    assert (fields["if_out_octets"], fields["if_out_errors"]) == (2**64 - 1, 2**32 - 1)


def test_an_empty_path_and_communities_of_a_gateway() -> None:
    record = flow(1003, words(1, 0x0A000001, 65000, 1, 2, 0, 0, 100))
    assert record.fields["dst_as_path"] == []
    assert record.fields["localpref"] == 100


def test_a_gateway_with_segments() -> None:
    record = flow(1003, words(1, 0x0A000001, 65000, 1, 2, 2, 2, 2, 7, 8, 1, 1, 9, 1, 42, 100))
    assert record.fields["dst_as_path"] == [{"type": 2, "path": [7, 8]}, {"type": 1, "path": [9]}]
    assert record.fields["communities"] == [42]


@pytest.mark.parametrize("number", [1003, 1006, 1012, 1016, 1034])
def test_lying_counts_are_refused(number: int) -> None:
    record = flow(number, words(0, 1, 2, 3, 2**32 - 1, 5) if number == 1003 else words(*[2**32 - 1] * 4))
    assert "error" in record.fields


def test_names_addresses_macs_octets_and_uuid() -> None:
    assert counter(1005, words(4) + b"swp1").fields == {"port_name": "swp1"}
    assert flow(1037, words(7, 3) + b"acl\0" + words(1)).fields == {"number": 7, "acl_name": "acl", "direction": 1}
    described = counter(2000, words(2) + b"h1\0\0" + bytes(range(16)) + words(3, 2, 0)).fields
    assert described["uuid"] == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    adapters = counter(2001, words(1, 2, 1) + bytes.fromhex("0200000000010000")).fields
    assert adapters == {"adapters": [{"if_index": 2, "mac_address": ["02:00:00:00:00:01"]}]}
    assert flow(1, words(1, 64, 4, 3) + b"abc\0").fields["header"] == "616263"


def test_text_that_is_no_utf_8_is_shown_not_lost() -> None:
    assert counter(1005, words(3) + b"a\xffb\0").fields == {"port_name": "a\\xffb"}


def test_what_json_has_no_number_for_is_left_out() -> None:
    fields = counter(2003, bytes.fromhex("7fc00000 7f800000 3f800000")).fields
    assert fields == {"load_fifteen": 1.0}


def test_aggregated_frames_carry_their_records_and_no_further_aggregation() -> None:
    inner = words(1036, 4, 7)
    nested = words(1016, 4, 0)
    record = flow(1016, words(1, 2) + inner + nested)
    assert record.fields["pdus"] == [
        {
            "flow_records": [
                {"tag": "0:1036", "name": "extended_egress_queue", "queue": 7},
                {"tag": "0:1016", "name": "unknown"},
            ]
        }
    ]


def test_no_field_hides_the_records_own_keys() -> None:
    for layout in records.layouts(flow=True) + records.layouts(flow=False):
        assert len(set(layout.names)) == len(layout.names), layout.text
        assert not {"tag", "name", "error"} & set(layout.names), layout.text


@pytest.mark.parametrize(
    ("record", "size"),
    [
        *(("counter 0:1", 88), ("counter 0:2", 52), ("counter 0:3", 72), ("counter 0:6", 80), ("counter 0:7", 56)),
        *(("counter 0:2003", 80), ("counter 0:2005", 52), ("counter 0:2007", 76), ("counter 0:2008", 100)),
        *(("counter 0:2009", 60), ("counter 0:2010", 28), ("counter 4413:3", 144)),
        *(("flow 0:2209", 48), ("flow 0:1023", 32)),
    ],
)
def test_the_sizes_of_the_specifications(record: str, size: int) -> None:
    octets = {"unsigned int": 4, "int": 4, "float": 4, "unsigned hyper": 8, "mac": 8, "opaque[4]": 4, "ip_v4": 4}
    kind, _, tag = record.partition(" ")
    (layout,) = [each for each in records.layouts(flow=kind == "flow") if each.text == tag]
    assert sum(octets[field.name] for _, field in layout.fields) == size
