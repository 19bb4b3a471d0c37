# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Bytes of a feed to text, and whether that text is a web page instead of a list."""

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SNIFFED = 4096
# A line that begins with a tag no list begins a line with.
_HTML = re.compile(r"^\s*<\s*(?:!doctype|html|head|body|meta|title|script)\b", re.IGNORECASE | re.MULTILINE)


def decode(data: bytes) -> str:
    """UTF-8 or UTF-16 (by BOM, else by its zero octets); what is neither keeps its ASCII and loses the rest."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, errors="replace")
    return data.decode(_utf16_without_bom(data[:_SNIFFED]) or "utf-8", errors="replace")


def is_html(text: str) -> bool:
    """Whether an error page, a log-in page or a captive portal came instead of the list.

    It takes two lines with markup, or one that is all there is: one among others may be what somebody wrote to have the
    whole list refused, and a page that is not known here has no readable line.
    """
    start = text[:_SNIFFED].lstrip("\ufeff \t\r\n")
    lines = [line.lstrip() for line in start.split("\n") if line.strip()]
    from_the_start = start.startswith("<")
    marked = sum(line.startswith("<") for line in lines) if from_the_start else len(_HTML.findall(start))
    return marked > 1 or marked == len(lines) == 1


def _utf16_without_bom(start: bytes) -> str | None:
    """ASCII in UTF-16 has a zero in every other octet; no other text has zeros."""
    half = len(start) // 2
    if half < 2:
        return None
    if start[1::2].count(0) > half * 3 // 4 and start[0::2].count(0) == 0:
        return "utf-16-le"
    if start[0::2].count(0) > half * 3 // 4 and start[1::2].count(0) == 0:
        return "utf-16-be"
    return None
