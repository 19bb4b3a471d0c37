# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Address text to canonical CIDR text, fast enough for a list of a quarter million lines.

``socket.inet_pton`` is strict (no leading zeros, no short forms, no zone) and many times faster than an address object.
"""

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

# Longest text of an address with its length or netmask; anything longer is not one.
_LONGEST_TOKEN = 64


def pack(address: str) -> bytes:
    """4 or 16 octets of an address; ValueError for anything else."""
    try:
        return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):
        raise ValueError("not an IP address") from None


def unpack(packed: bytes) -> str:
    """The canonical text of 4 or 16 octets."""
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def canonical_prefix(token: str) -> tuple[str, bool]:
    """``(canonical CIDR text, whether host bits had to be cleared)`` of an address, CIDR or address/netmask."""
    if len(token) > _LONGEST_TOKEN:
        raise ValueError("not an IP address")
    address, slash, length_text = token.partition("/")
    packed = pack(address)
    bits = len(packed) * 8
    length = _length(length_text, bits) if slash else bits
    if length == bits:
        return f"{unpack(packed)}/{bits}", False
    value = int.from_bytes(packed, "big")
    host_bits = bits - length
    network = value >> host_bits << host_bits
    return f"{unpack(network.to_bytes(len(packed), 'big'))}/{length}", network != value


def bounds(prefix: str) -> tuple[int, int, int]:
    """``(family 4|6, first address, last address)`` of canonical CIDR text, addresses as integers."""
    if prefix.endswith("/32") and ":" not in prefix:
        only = int.from_bytes(inet_pton(AF_INET, prefix[:-3]), "big")
        return 4, only, only
    address, _, length = prefix.partition("/")
    packed = pack(address)
    first = int.from_bytes(packed, "big")
    return (4 if len(packed) == 4 else 6), first, first | ((1 << (len(packed) * 8 - int(length))) - 1)


def range_prefixes(first: str, last: str) -> list[str]:
    """The fewest prefixes that together are exactly the range, both ends included."""
    low_packed, high_packed = pack(first), pack(last)
    if len(low_packed) != len(high_packed):
        raise ValueError("range between an IPv4 and an IPv6 address")
    low, high = int.from_bytes(low_packed, "big"), int.from_bytes(high_packed, "big")
    if low > high:
        raise ValueError("range ends before it starts")
    size = len(low_packed)
    prefixes = []
    while low <= high:
        # The largest block that starts here is bounded by the start's alignment and by what is left.
        aligned = (low & -low).bit_length() - 1 if low else size * 8
        host_bits = min(aligned, (high - low + 1).bit_length() - 1)
        prefixes.append(f"{unpack(low.to_bytes(size, 'big'))}/{size * 8 - host_bits}")
        low += 1 << host_bits
    return prefixes


def _length(text: str, bits: int) -> int:
    """A prefix length, or the length of an IPv4 netmask."""
    if bits == 32 and "." in text:
        host = int.from_bytes(pack(text), "big") ^ 0xFFFFFFFF
        if host & (host + 1):
            raise ValueError("netmask with holes")
        return 32 - host.bit_length()
    if not (text.isascii() and text.isdigit() and len(text) <= 3) or int(text) > bits:
        raise ValueError(f"prefix length is not 0 to {bits}")
    return int(text)
