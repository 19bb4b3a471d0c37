# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What cannot be encoded is refused rather than mangled."""

import pytest

from sentinel.model import CountersSample, Record
from sentinel.sflow import encode
from sentinel.sflow.datagram import BadSample, Datagram, decode


def flow(**more: object) -> bytes:
    values = {"sequence": 1, "source_index": 3, "sampling_rate": 1, "sample_pool": 1, "input": 1, "output": 2} | more
    return encode.flow_sample(header=b"", frame_length=64, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"source_index": 1 << 24},
        {"source_class": 1 << 8},
        {"sampling_rate": 1 << 32},
        {"sequence": -1},
        {"expanded": True, "source_index": 1 << 32},
    ],
)
def test_numbers_without_room(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"fit in 32 bits|expanded sample"):
        flow(**wrong)


def test_bad_samples_and_records() -> None:
    with pytest.raises(ValueError, match="was not decoded"):
        encode.encode(Datagram("10.0.0.1", 0, 1, 1, (BadSample(0, "0:1", 28, "cut"),)))
    broken = CountersSample("0:2", 0, 1, 0, 1, (Record("0:1005", "port_name", {"error": "cut"}),))
    with pytest.raises(ValueError, match="not decoded whole"):
        encode.encode(Datagram("10.0.0.1", 0, 1, 1, (broken,)))


def test_the_compact_form_of_ports_keeps_its_two_bits() -> None:
    (sample,) = decode(encode.datagram("10.0.0.1", 0, 1, 1, [flow(output=2 << 30 | 5)])).samples
    assert (sample.output_format, sample.output) == (2, 5)  # type: ignore[union-attr]
    (sample,) = decode(encode.datagram("10.0.0.1", 0, 1, 1, [flow(expanded=True, output=2 << 30 | 5)])).samples
    assert (sample.output_format, sample.output) == (0, 2 << 30 | 5)  # type: ignore[union-attr]
