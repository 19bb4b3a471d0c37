# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The formats by the name that descriptors and ``--feed FILE:FORMAT`` use."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from sentinel.blacklist.formats import et_block, plain
from sentinel.blacklist.formats.parsed import Parsed

Parser = Callable[[str, str], Parsed]

FORMATS: Mapping[str, Parser] = MappingProxyType(
    {
        "plain": plain.parse,
        "et-compromised": plain.parse,
        "et-block": et_block.parse,
    }
)
