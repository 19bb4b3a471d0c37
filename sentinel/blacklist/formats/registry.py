# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The formats by the name that descriptors and ``--feed FILE:FORMAT`` use."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from sentinel.blacklist.formats import (
    columns,
    dshield,
    et_block,
    feodo,
    iprep,
    ipsum,
    misp,
    plain,
    ranges,
    spamhaus,
    stix,
    tor,
    zeek,
)
from sentinel.blacklist.formats.parsed import Parsed

Parser = Callable[[str, str], Parsed]

FORMATS: Mapping[str, Parser] = MappingProxyType(
    {
        "plain": plain.parse,
        "et-compromised": plain.parse,
        "et-block": et_block.parse,
        "spamhaus-drop": plain.parse,
        "spamhaus-drop-json": spamhaus.parse,
        "dshield-block": dshield.parse,
        "feodo-csv": columns.parse_feodo,
        "feodo-json": feodo.parse_json,
        "feodo-text": feodo.parse_text,
        "tor-exit-addresses": tor.parse,
        "suricata-iprep": iprep.parse,
        "zeek-intel": zeek.parse,
        "ipsum": ipsum.parse,
        "ranges": ranges.parse,
        "csv": columns.parse,
        "stix": stix.parse,
        "misp-event": misp.parse_event,
        "misp-warninglist": misp.parse_warninglist,
    }
)


def parse(format_name: str, text: str, group: str, column: str = "") -> Parsed:
    """Parse ``text``; ``column`` names the address column of a ``csv``. FormatError: it is not of its format at all."""
    if column and format_name == "csv":
        return columns.parse(text, group, column)
    return FORMATS[format_name](text, group)
