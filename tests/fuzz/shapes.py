# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""sFlow datagrams taken apart and put together again, so that a change inside one keeps its lengths and counts true.

Its own reading of the format, independent of the product's and forgiving: what does not fit stays octets.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import pack, unpack_from

Blend = Callable[[bytes], bytes]
# A tag, and the octets behind its length.
_Body = tuple[int, bytes]

# Octets before the number of records, by the tag of the sample.
_FIXED = {1: 28, 2: 8, 3: 40, 4: 12, 5: 28}
_NUMBERS = (0, 1, 2, 4, 5, 8, 64, 0x3FFFFFFF, 0x40000001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFC0, 0xFFFFFFFF)
# Samples in a row that end one octet later than the one before.
_CUTS = 16
_DELTAS = (-8, -4, -3, -2, -1, 1, 2, 3, 4, 8)


@dataclass(slots=True)
class Sample:
    """``fixed`` and ``records`` of (tag, body), or ``fixed`` alone where that is all that could be made of it."""

    tag: int
    fixed: bytes
    records: list[_Body] | None = None

    def octets(self, *, padded: bool = True) -> bytes:
        body = self.fixed
        if self.records is not None:
            body += pack(">I", len(self.records)) + b"".join(_block(*record, padded) for record in self.records)
        return _block(self.tag, body, padded)


@dataclass(slots=True)
class Shape:
    """A datagram: what stands before the number of samples, the samples, and octets behind them."""

    head: bytes
    samples: list[Sample] = field(default_factory=list)
    behind: bytes = b""

    def octets(self, *, padded: bool = True) -> bytes:
        """``padded``: bodies end at multiples of four, as they must; some agents leave that out."""
        samples = b"".join(each.octets(padded=padded) for each in self.samples)
        return self.head + pack(">I", len(self.samples)) + samples + self.behind


def _block(tag: int, body: bytes, padded: bool) -> bytes:
    return pack(">II", tag, len(body)) + body + bytes(-len(body) & 3 if padded else 0)


def _blocks(data: bytes, at: int, count: int) -> tuple[list[_Body], int]:
    found: list[_Body] = []
    while len(found) < count and len(data) - at >= 8:
        tag, size = unpack_from(">II", data, at)
        if size > len(data) - at - 8:
            break
        found.append((tag, data[at + 8 : at + 8 + size]))
        at = min(at + 8 + (size + 3 & ~3), len(data))
    return found, at


def shape_of(data: bytes) -> Shape | None:
    """``None`` for octets that do not begin as a datagram."""
    at = 36 if data[4:8] == b"\0\0\0\2" else 24
    if len(data) < at + 4:
        return None
    shape = Shape(data[:at])
    blocks, end = _blocks(data, at + 4, unpack_from(">I", data, at)[0])
    for tag, body in blocks:
        fixed = _FIXED.get(tag)
        if fixed is None or len(body) < fixed + 4:
            shape.samples.append(Sample(tag, body))
            continue
        records, _ = _blocks(body, fixed + 4, unpack_from(">I", body, fixed)[0])
        shape.samples.append(Sample(tag, body[:fixed], records))
    shape.behind = data[end:]
    return shape


def cut_everywhere(datagrams: Sequence[bytes]) -> list[bytes]:
    """For each different header and other record in these a sample with it cut at every octet, some in a datagram."""
    records: dict[_Body, Shape] = {}
    for shape in filter(None, map(shape_of, datagrams)):
        for sample in shape.samples:
            for record in sample.records or ():
                records.setdefault(record, Shape(shape.head, [Sample(sample.tag, sample.fixed)]))
    made = []
    for (tag, body), shape in records.items():
        sample = shape.samples[0]
        size = len(body) - (16 if tag == 1 else 0)
        for first in range(0, size, _CUTS):
            cuts = [_shortened(tag, body, end) for end in range(first, min(first + _CUTS, size))]
            made.append(Shape(shape.head, [Sample(sample.tag, sample.fixed, [cut]) for cut in cuts]).octets())
    return made


def _shortened(tag: int, body: bytes, size: int) -> _Body:
    """A record with so much of its body, of a header so much of the frame."""
    if tag != 1 or len(body) < 16:
        return tag, body[:size]
    return tag, body[:12] + pack(">I", len(body[16 : 16 + size])) + body[16 : 16 + size]


def changed(data: bytes, chance: random.Random, blend: Blend, pool: Sequence[bytes], frames: Sequence[bytes]) -> bytes:
    """A changed datagram: true lengths and counts half of the time, one lie in the other half.

    ``pool`` are datagrams to take samples and records from, ``frames`` sampled headers.
    """
    shape = shape_of(data)
    if shape is None:
        return blend(data)
    if chance.random() < 0.2:
        return _ending(shape, chance, blend)
    for _ in range(chance.choice((1, 1, 2, 3))):
        _change(shape, chance, blend, pool, frames)
    octets = shape.octets(padded=chance.random() < 0.8)
    return octets if chance.random() < 0.5 else lie(octets, chance)


def lie(octets: bytes, chance: random.Random) -> bytes:
    """One word is a little off, or one of the numbers that mean something somewhere."""
    if len(octets) < 4:
        return octets
    at = chance.randrange(len(octets) - 3) & ~3
    value = int.from_bytes(octets[at : at + 4])
    value = (value + chance.choice(_DELTAS)) & 0xFFFFFFFF if chance.random() < 0.7 else chance.choice(_NUMBERS)
    return octets[:at] + value.to_bytes(4) + octets[at + 4 :]


def _ending(shape: Shape, chance: random.Random, blend: Blend) -> bytes:
    """The datagram ends inside of a body whose length is true, so that whatever is read behind it is out of bounds."""
    at = chance.randrange(max(len(shape.samples), 1))
    kept = Shape(shape.head, shape.samples[: at + 1])
    sample = kept.samples[-1] if kept.samples else None
    if sample is not None and sample.records:
        records = sample.records[: chance.randint(1, len(sample.records))]
        tag, body = records[-1]
        if tag == 1 and len(body) >= 16:
            header = body[16 : 16 + unpack_from(">I", body, 12)[0]]
            header = _cut(header if chance.random() < 0.5 else blend(header), chance)
            records[-1] = (1, body[:12] + pack(">I", len(header)) + header)
        else:
            records[-1] = (tag, body[: chance.randint(0, len(body))])
        kept.samples[-1] = Sample(sample.tag, sample.fixed, records)
    return kept.octets(padded=False)


def _cut(header: bytes, chance: random.Random) -> bytes:
    """Often behind a whole header of some layer."""
    return header[: chance.choice((14, 18, 22, 34, 42, 50, 54, 62, chance.randint(0, len(header))))]


def _change(shape: Shape, chance: random.Random, blend: Blend, pool: Sequence[bytes], frames: Sequence[bytes]) -> None:
    kind = chance.randrange(10)
    samples = shape.samples
    if kind == 0:
        shape.head = lie(shape.head, chance)
    elif kind == 1 or not samples:
        other = shape_of(chance.choice(pool))
        if other is not None and other.samples:
            samples.insert(chance.randint(0, len(samples)), chance.choice(other.samples))
    elif kind == 2 and len(samples) > 1:
        del samples[chance.randrange(len(samples))]
    elif kind == 3:
        samples[:] = [*samples, chance.choice(samples)][:64]
    elif kind == 4:
        at = chance.randrange(len(samples))
        samples[at : at + 1] = _cuts(samples[at], chance)
    else:
        at = chance.randrange(len(samples))
        samples[at] = _changed_sample(samples[at], chance, blend, pool, frames)


def _cuts(sample: Sample, chance: random.Random) -> list[Sample]:
    """The sample several times: one of its records, or the header in it, ends one octet later each time."""
    if not sample.records:
        return [sample]
    at = chance.randrange(len(sample.records))
    tag, body = sample.records[at]
    first = chance.randrange(len(body) + 1)
    cuts = [_shortened(tag, body, end) for end in range(first, min(first + _CUTS, len(body) + 1))]
    before, behind = sample.records[:at], sample.records[at + 1 :]
    return [Sample(sample.tag, sample.fixed, [*before, cut, *behind]) for cut in cuts]


def _changed_sample(
    sample: Sample, chance: random.Random, blend: Blend, pool: Sequence[bytes], frames: Sequence[bytes]
) -> Sample:
    if sample.records is None:
        return Sample(sample.tag, blend(sample.fixed))
    records = list(sample.records)
    kind = chance.randrange(10)
    if kind == 0:
        return Sample(sample.tag, lie(sample.fixed, chance), records)
    if kind == 1:
        return Sample(chance.choice((1, 2, 3, 4, 5, 6)), sample.fixed, records)
    if kind == 2 or not records:
        other = shape_of(chance.choice(pool))
        found = [record for each in other.samples for record in each.records or ()] if other else []
        records.insert(chance.randint(0, len(records)), chance.choice(found or [(1, b"")]))
        return Sample(sample.tag, sample.fixed, records)
    at = chance.randrange(len(records))
    tag, body = records[at]
    if kind == 3:
        del records[at]
    elif kind == 4:
        records = [*records, records[at]][:40]
    elif tag == 1 and len(body) >= 16:
        records[at] = (1, _changed_header(body, chance, blend, frames))
    else:
        records[at] = (tag, blend(body) if chance.random() < 0.7 else lie(body, chance))
    return Sample(sample.tag, sample.fixed, records)


def _changed_header(body: bytes, chance: random.Random, blend: Blend, frames: Sequence[bytes]) -> bytes:
    """The sampled header's octets changed, cut, or with another frame inside; its length is true again."""
    protocol = unpack_from(">I", body)[0]
    header = body[16 : 16 + unpack_from(">I", body, 12)[0]]
    kind = chance.randrange(7)
    if kind == 0:
        header = _cut(header, chance)
    elif kind == 6 and header:
        at = chance.randrange(len(header))
        header = header[:at] + bytes((header[at] + chance.choice(_DELTAS) & 0xFF,)) + header[at + 1 :]
    elif kind == 1:
        header = header[: chance.randint(0, len(header))] + chance.choice(frames)
    elif kind == 2:
        protocol = chance.choice((1, 1, 1, 7, 11, 12, 13, 14, protocol))
    else:
        header = blend(header)
    header = header[:512]
    return pack(">I", protocol) + body[4:12] + pack(">I", len(header)) + header
