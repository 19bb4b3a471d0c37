# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Batches through both scans: equal matches, flow counts, counters and health, and every table within its bound.

An input is pieces between separators. The first is an octet of settings (``OWN_LISTS`` and so on) and the lists, five
octets a prefix: what it is, its length, where its address stands in the octets behind, and which bit to flip. The
others are datagrams, each behind an octet that says who sent it, how much later, and whether its batch ends there.
Nothing outlives an input. No exception is allowed.
"""

import importlib
import random
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address, ip_network
from itertools import pairwise
from struct import pack

from sentinel import recording
from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.trie import Allowed, Blacklist
from sentinel.errors import DecodeError
from sentinel.model import FlowSample
from sentinel.sflow import datagram
from sentinel.sflow.admission import Admission, AdmissionRule
from tests.fuzz import shapes
from tests.support import sflow, traffic
from tests.support.twins import EVERYTHING, Twins
from tests.unit.scan.test_twins import DATAGRAMS, FRAMES

SEPARATOR = b"\xf0\x9f\x90\x99"
OWN_LISTS, ADMISSION, NO_DESTINATIONS, COMPILED_BATCH, FEW_FLOWS, FEW_STREAMS = 1, 2, 4, 8, 16, 32
V6, ALLOWED, FLIPPED, SECOND_FEED = 1, 2, 4, 8
BATCH_ENDS, NOT_TAKEN = 0x20, 0x40
MAX_PREFIXES = 24
MAX_DATAGRAMS = 40

_SENDERS = (
    "10.0.0.253",
    "10.0.0.252",
    "192.0.2.9",
    "198.51.100.1",
    "2001:db8::1",
    "2001:db8::2",
    "10.0.0.1",
    "fd00::1",
)
_LATER_S = (0.0, 0.1, 1.0, 4000.0)
_RULES = (AdmissionRule(("10.0.0.253", "10.0.0.252"), "leaf1"), AdmissionRule(("2001:db8::/64",)))
_PREFIX_OCTETS = 5


def one(data: bytes) -> None:
    head, *pieces = data.split(SEPARATOR)
    settings = head[0] if head else 0
    body = b"".join(piece[1:] for piece in pieces)
    plain, compiled = (Admission(_RULES, ["192.0.2.0/24"]) for _ in range(2))
    max_streams, max_flows = 2 if settings & FEW_STREAMS else 16, 8 if settings & FEW_FLOWS else 128
    both = Twins(
        _lists(_prefixes(head[1:], body)) if settings & OWN_LISTS else EVERYTHING,
        admissions=(plain, compiled) if settings & ADMISSION else (None, None),
        erspan_destinations=() if settings & NO_DESTINATIONS else ("10.0.0.70", "2001:db8::70"),
        max_streams=max_streams,
        max_flows=max_flows,
    )
    for batch, taken in _batches(pieces[:MAX_DATAGRAMS], at_once=bool(settings & COMPILED_BATCH)):
        received = None
        if settings & COMPILED_BATCH:
            senders = [ip_address(sender).packed for _, sender, _ in batch]
            receive = importlib.import_module("sentinel._receive")
            received = receive.batch_of([payload for payload, _, _ in batch], senders, batch[0][2] if batch else 0.0)
        both.feed(batch, received, take=taken)
        assert len(both.native.flows) <= max_flows
        assert len(both.native.agents.snapshot()) <= max_streams
    counts = both.native.counters
    kinds = counts.flow_samples + counts.discards + counts.counters_samples
    assert counts.samples == kinds + counts.unknown_samples + counts.bad_samples
    assert counts.hits <= counts.matches <= 2 * counts.hits <= 2 * counts.pairs


def _batches(pieces: list[bytes], *, at_once: bool) -> Iterator[tuple[list[tuple[bytes, str, float]], bool]]:
    """Batches, and whether the flows are taken after each; ``at_once``: all of a batch arrive at the same time."""
    batch: list[tuple[bytes, str, float]] = []
    now = 1_000.0
    for piece in pieces:
        kind = piece[0] if piece else 0
        if not (at_once and batch):
            now += _LATER_S[kind >> 3 & 3]
        batch.append((piece[1:], _SENDERS[kind & 7], now))
        if kind & BATCH_ENDS:
            yield batch, not kind & NOT_TAKEN
            batch = []
    yield batch, True


# What a prefix is: its text, whether it is allowed rather than listed, and its feed.
_Prefix = tuple[str, bool, bool]


def _prefixes(octets: bytes, body: bytes) -> tuple[_Prefix, ...]:
    found = []
    for at in range(0, min(len(octets), MAX_PREFIXES * _PREFIX_OCTETS) - _PREFIX_OCTETS + 1, _PREFIX_OCTETS):
        kind, length, high, low, bit = octets[at : at + _PREFIX_OCTETS]
        size = 16 if kind & V6 else 4
        start = high << 8 | low
        value = int.from_bytes(body[start : start + size].ljust(size, b"\0"))
        if kind & FLIPPED:
            value ^= 1 << bit % (8 * size)
        text = f"{ip_address(value.to_bytes(size))}/{length % (8 * size + 1)}"
        found.append((str(ip_network(text, strict=False)), bool(kind & ALLOWED), bool(kind & SECOND_FEED)))
    return tuple(found)


@lru_cache(16)
def _lists(prefixes: tuple[_Prefix, ...]) -> Blacklist:
    entries: dict[str, list[Entry]] = {"one": [], "two": []}
    for line, (text, allowed, second) in enumerate(prefixes):
        if not allowed:
            entries["two" if second else "one"].append(Entry(text, f"group{line % 3}", line))
    return Blacklist.build(entries, [Allowed(text, "config") for text, allowed, _ in prefixes if allowed])


# --- inputs --------------------------------------------------------------------------------------


def seeds() -> list[bytes]:
    """Our own datagrams and frames, and a few of every recording beside the checkout."""
    payloads = [*DATAGRAMS, *(traffic.datagram(traffic.flow(each)) for each in _frames())]
    if (sflow.DATA / "sflow").is_dir():
        payloads += sflow.payloads()
    made = [b"\0" + SEPARATOR + b"\x28" + payload for payload in payloads]
    chance = random.Random(1)
    for number in range(0, len(payloads), 4):
        some = payloads[number : number + 4]
        steps = [bytes((chance.randrange(128),)) + payload for payload in some]
        listed = _places(b"".join(some), chance, 6)
        made.append(SEPARATOR.join((bytes((chance.randrange(64) | OWN_LISTS,)) + listed, *steps)))
    return [each for each in made if len(each) < 8_000]


def _frames() -> list[bytes]:
    frames = list(FRAMES)
    for folder in ("headers", "erspan"):
        for pcap in sorted((sflow.DATA / folder).glob("*.pcap")):
            frames += [bytes(each.data[:256]) for each, _ in zip(recording.packets(pcap), range(4), strict=False)]
    return frames


def mutate(data: bytes, chance: random.Random, blend: shapes.Blend) -> bytes:
    """Octets anywhere, or one step inside its structure: its datagram, who sends it and when, or the lists."""
    kind = chance.randrange(12)
    head, *pieces = data.split(SEPARATOR)
    if kind < 3 or not pieces:
        return blend(data)
    at = chance.randrange(len(pieces))
    step, payload = pieces[at][:1], pieces[at][1:]
    if kind == 3:
        head = _changed_head(head, b"".join(piece[1:] for piece in pieces), chance)
    elif kind == 4:
        step = bytes((chance.randrange(128),))
        pieces[at] = step + payload
    elif kind == 5 and len(pieces) < MAX_DATAGRAMS:
        pieces.insert(at, pieces[at] if chance.random() < 0.5 else step + chance.choice(DATAGRAMS))
    elif kind == 6 and len(pieces) > 1:
        del pieces[at]
    else:
        pieces[at] = (step or b"\0") + shapes.changed(payload, chance, blend, DATAGRAMS, FRAMES)
    return SEPARATOR.join((head, *pieces))


def _changed_head(head: bytes, body: bytes, chance: random.Random) -> bytes:
    settings = head[:1] or b"\0"
    if chance.random() < 0.3:
        settings = bytes((settings[0] ^ 1 << chance.randrange(6),))
    listed = head[1:]
    if chance.random() < 0.2:
        listed = b""
    return settings + _places(body, chance, chance.randint(1, 3)) + listed[: MAX_PREFIXES * _PREFIX_OCTETS]


def _places(body: bytes, chance: random.Random, count: int) -> bytes:
    """Prefixes around addresses that really stand in these octets: exact, and off by the bit next to their length."""
    addresses = [packed for packed in _addresses(body) if 0 <= body.find(packed) < 1 << 16]
    made = b""
    for _ in range(count):
        packed = chance.choice(addresses) if addresses else bytes(4)
        bits = 8 * len(packed)
        length = chance.choice((bits, bits - 1, bits // 2, 16, 19, 24, 32, 48, 64, chance.randint(0, bits))) % (
            bits + 1
        )
        kind = (V6 if bits == 128 else 0) | chance.choice((0, 0, 0, ALLOWED, FLIPPED, SECOND_FEED))
        bit = (bits - length - chance.randrange(2)) % bits
        made += pack(">BBHB", kind, length, max(0, body.find(packed)), bit)
    return made


def _addresses(body: bytes) -> list[bytes]:
    """The addresses of every datagram in these octets that can be read."""
    found: list[bytes] = []
    starts = [at for at in range(len(body)) if body.startswith(b"\0\0\0\5\0\0\0", at)]
    for start, end in pairwise([*starts[:8], len(body)]):
        try:
            samples = datagram.decode(body[start:end]).samples
        except DecodeError:
            continue
        for sample in samples:
            packet = sample.packet if isinstance(sample, FlowSample) else None
            while packet is not None:
                found += [ip_address(text).packed for text in (packet.src_ip, packet.dst_ip) if text is not None]
                packet = packet.inner
    return found
