# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""decode(encode(x)) == x for every datagram, and for every record of every layout."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentinel.errors import DecodeError
from sentinel.model import Record
from sentinel.sflow import datagram, encode, records
from sentinel.sflow.cursor import Cursor
from sentinel.sflow.datagram import BadSample, Datagram
from tests.support.sflow import payloads
from tests.support.sflow_values import COUNTER_LAYOUTS, FLOW_LAYOUTS, datagrams, fields

ROOMY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@ROOMY
@given(datagrams())
def test_what_is_encoded_decodes_to_the_same(value: Datagram) -> None:
    assert datagram.decode(encode.encode(value)) == value


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_every_layout_reads_what_it_writes(data: st.DataObject) -> None:
    for layout in FLOW_LAYOUTS + COUNTER_LAYOUTS:
        value = data.draw(fields(layout), layout.text)
        body = layout.write(value)
        assert layout.read(Cursor(body)) == value, layout.text


def test_recorded_datagrams_survive() -> None:
    for payload in payloads():
        try:
            value = datagram.decode(payload)
        except DecodeError:
            continue
        if not any(isinstance(sample, BadSample) for sample in value.samples):
            assert datagram.decode(encode.encode(value)) == value


def test_a_record_that_was_never_seen_whole_is_not_made_up() -> None:
    assert records.encode_flow(Record("0:4000", "unknown")) == bytes.fromhex("00000fa0 00000000")
