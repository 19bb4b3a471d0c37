# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Batches through both scans: equal matches, flow counts, counters and health, and every table within its bound.

An input is pieces between separators. The first is an octet of settings (``OWN_LISTS`` and so on) and the lists: for
each prefix an octet that says what it is, its length, and sixteen of its address. The others are datagrams, each behind
an octet that says who sent it, how much later, and whether its batch ends there. Nothing outlives an input but lists,
which cost most to make. No exception is allowed.
"""

import importlib
import random
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address

from sentinel.blacklist.formats.parsed import Entry
from sentinel.blacklist.formats.prefixes import canonical_prefix, unpack
from sentinel.blacklist.trie import Allowed, Blacklist
from sentinel.errors import DecodeError
from sentinel.model import FlowSample
from sentinel.packets.pcap import packets
from sentinel.sflow import datagram
from sentinel.sflow.admission import Admission, AdmissionRule
from tests.fuzz import shapes
from tests.support import sflow, traffic
from tests.support.twins import EVERYTHING, Twins
from tests.unit.scan.test_twins import DATAGRAMS, FRAMES

SEPARATOR = b"\xf0\x9f\x90\x99"
OWN_LISTS, ADMISSION, NO_DESTINATIONS, COMPILED_BATCH, FEW_FLOWS, FEW_STREAMS = 1, 2, 4, 8, 16, 32
V6, ALLOWED, SECOND_FEED = 1, 2, 4
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
_PREFIX_OCTETS = 18
# Lengths of prefixes around an address: most where only the half of an IPv6 address that is compared last decides.
_LENGTHS = {4: (8, 16, 19, 23, 24, 25, 31, 32), 16: (32, 48, 63, 64, 65, 66, 96, 120, 123, 124, 125, 126, 127, 128)}


def one(data: bytes) -> None:
    head, *pieces = data.split(SEPARATOR)
    settings = head[0] if head else 0
    max_streams, max_flows = 2 if settings & FEW_STREAMS else 16, 8 if settings & FEW_FLOWS else 128
    both = Twins(
        _lists(head[1 : 1 + MAX_PREFIXES * _PREFIX_OCTETS]) if settings & OWN_LISTS else _nested(),
        admissions=(_admission(), _admission()) if settings & ADMISSION else (None, None),
        erspan_destinations=() if settings & NO_DESTINATIONS else ("10.0.0.70", "2001:db8::70"),
        max_streams=max_streams,
        max_flows=max_flows,
    )
    for batch, taken in _batches(pieces[:MAX_DATAGRAMS], at_once=bool(settings & COMPILED_BATCH)):
        received = None
        if settings & COMPILED_BATCH:
            senders = [ip_address(sender).packed for _, sender, _ in batch]
            receive = importlib.import_module("sentinel.receive._native")
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


def _admission() -> Admission:
    return Admission(_RULES, ["192.0.2.0/24"])


@lru_cache(16)
def _lists(octets: bytes) -> Blacklist:
    entries: dict[str, list[Entry]] = {"one": [], "two": []}
    allowed = []
    for at in range(0, len(octets) - _PREFIX_OCTETS + 1, _PREFIX_OCTETS):
        kind, length, size = octets[at], octets[at + 1], 16 if octets[at] & V6 else 4
        address = unpack(octets[at + 2 : at + 2 + size])
        prefix = canonical_prefix(f"{address}/{length % (8 * size + 1)}")[0]
        if kind & ALLOWED:
            allowed.append(Allowed(prefix, "config"))
        else:
            entries["two" if kind & SECOND_FEED else "one"].append(Entry(prefix, f"group{at % 3}", at))
    return Blacklist.build(entries, allowed)


@lru_cache(1)
def _nested() -> Blacklist:
    """Every address is listed, those of our own datagrams by prefixes of many lengths, each beside a neighbour."""
    entries = [Entry(prefix, "everything", 1) for prefix in EVERYTHING.prefixes()]
    for packed in sorted({packed for payload in DATAGRAMS for packed in _addresses(payload)}):
        for length in _LENGTHS[len(packed)]:
            around = (canonical_prefix(f"{unpack(each)}/{length}")[0] for each in (packed, _neighbour(packed, length)))
            entries += [Entry(prefix, f"of{length}", 1) for prefix in around]
    return Blacklist.build({"one": entries}, [Allowed(each, "config") for each in EVERYTHING.allowed_prefixes()])


def _neighbour(packed: bytes, length: int) -> bytes:
    """An address of the prefix beside the one of this length: the last bit within it is another."""
    return (int.from_bytes(packed) ^ 1 << 8 * len(packed) - length).to_bytes(len(packed))


# --- inputs --------------------------------------------------------------------------------------


def seeds() -> list[bytes]:
    """Our own datagrams and frames, cut at every octet too, and a few of every recording beside the checkout."""
    payloads = [*DATAGRAMS, *(traffic.datagram(traffic.flow(each)) for each in _frames())]
    if (sflow.DATA / "sflow").is_dir():
        payloads += sflow.payloads()
    payloads += shapes.cut_everywhere(DATAGRAMS)
    made = [b"\0" + SEPARATOR + b"\x28" + payload for payload in payloads]
    chance = random.Random(1)
    for number in range(0, len(payloads), 4):
        some = payloads[number : number + 4]
        steps = [bytes((chance.randrange(128),)) + payload for payload in some]
        listed = _prefixes_around(_addresses(some[0]), chance, 6)
        made.append(SEPARATOR.join((bytes((chance.randrange(64) | OWN_LISTS,)) + listed, *steps)))
    return [each for each in made if len(each) < 8_000]


def _frames() -> list[bytes]:
    frames = list(FRAMES)
    for folder in ("headers", "erspan"):
        for pcap in sorted((sflow.DATA / folder).glob("*.pcap")):
            frames += [bytes(each.data[:256]) for each, _ in zip(packets(pcap), range(4), strict=False)]
    return frames


def mutate(data: bytes, chance: random.Random, blend: shapes.Blend) -> bytes:
    """Octets anywhere, or one step inside its structure: its datagram, who sends it and when, or the lists."""
    kind = chance.randrange(14)
    head, *pieces = data.split(SEPARATOR)
    if kind < 2 or not pieces:
        return blend(data)
    at = chance.randrange(len(pieces))
    step, payload = pieces[at][:1], pieces[at][1:]
    if kind == 2:
        head = _changed_head(head, payload, chance)
    elif kind == 3:
        step = bytes((chance.randrange(128),))
        pieces[at] = step + payload
    elif kind == 4 and len(pieces) < MAX_DATAGRAMS:
        pieces.insert(at, pieces[at] if chance.random() < 0.5 else step + chance.choice(DATAGRAMS))
    elif kind == 5 and len(pieces) > 1:
        del pieces[at]
    elif kind == 6:
        pieces[at] = step + _moved(payload, chance)
    else:
        pieces[at] = (step or b"\0") + shapes.changed(payload, chance, blend, DATAGRAMS, FRAMES)
    return SEPARATOR.join((head, *pieces))


def _changed_head(head: bytes, payload: bytes, chance: random.Random) -> bytes:
    settings = head[:1] or b"\0"
    if chance.random() < 0.3:
        settings = bytes((settings[0] ^ 1 << chance.randrange(6),))
    listed = head[1:]
    if chance.random() < 0.2:
        listed = b""
    return settings + (_prefixes_around(_addresses(payload), chance, 3) + listed)[: MAX_PREFIXES * _PREFIX_OCTETS]


def _prefixes_around(addresses: list[bytes], chance: random.Random, count: int) -> bytes:
    """Prefixes that cover one of these addresses, or lie beside one that does."""
    made = b""
    for _ in range(count):
        packed = chance.choice(addresses or [bytes(4)])
        length = chance.choice((*_LENGTHS[len(packed)], chance.randint(1, 8 * len(packed))))
        kind = (V6 if len(packed) == 16 else 0) | chance.choice((0, 0, ALLOWED, SECOND_FEED))
        address = chance.choice((packed, _neighbour(packed, length)))
        made += bytes((kind, length)) + address.ljust(16, b"\0")
    return made


def _moved(payload: bytes, chance: random.Random) -> bytes:
    """One of the datagram's addresses is another of the same network."""
    packed = chance.choice(_addresses(payload) or [bytes(4)])
    return payload.replace(packed, _neighbour(packed, chance.randint(len(packed) * 4, len(packed) * 8)), 1)


def _addresses(payload: bytes) -> list[bytes]:
    """Those of every header in a datagram that can be read."""
    found: list[bytes] = []
    with suppress(DecodeError):
        for sample in datagram.decode(payload).samples:
            packet = sample.packet if isinstance(sample, FlowSample) else None
            while packet is not None:
                found += [ip_address(text).packed for text in (packet.src_ip, packet.dst_ip) if text is not None]
                packet = packet.inner
    return found
