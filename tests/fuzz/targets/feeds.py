# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Lists as they are downloaded: any octets, unpacked and parsed in any format, give entries or an allowed error.

The first octet chooses the format. Allowed: ``FeedError`` by the unpacker, ``FormatError`` by the parser.
"""

import gzip
import io
import zipfile
from pathlib import Path

from sentinel.blacklist.formats.registry import FORMATS
from sentinel.blacklist.text import decode, is_html
from sentinel.blacklist.unpack import unpacked
from sentinel.errors import FeedError
from tests.fuzz.test_feed_parsers import WORDS as TEXT_WORDS
from tests.fuzz.test_feed_parsers import parse
from tests.support import sflow
from tests.unit.blacklist.test_formats import DROP, DSHIELD, FEODO, TOR, ZEEK

WORDS = [word.encode("utf-8", "ignore") for word in TEXT_WORDS if word.encode("utf-8", "ignore")]
MAX_UNPACKED_BYTES = 1 << 16

_NAMES = sorted(FORMATS)
_SAMPLES = Path(__file__).parents[3] / "feeds/samples"
_MORE = (
    "# IPsum\n203.0.113.1\t10\n203.0.113.2\t3\n",
    "#203.0.113.9,1,1\n203.0.113.1,10,100\n2001:db8::/32, 2, 127\n",
    "Bad: people:203.0.113.0-203.0.113.255\n203.0.113.6 - 203.0.113.7\n2001:db8::-2001:db8::1\n0.0.0.1-255.255.0.4\n",
    '[{"ip_address": "203.0.113.1", "port": 443, "malware": "Q"}, {"ip_address": "2001:db8::1"}]',
    """{"type": "bundle", "objects": [{"type": "indicator", "pattern": "[ipv4-addr:value = '203.0.113.1']",
    "valid_until": "2026-01-01T00:00:00Z", "confidence": 50, "revoked": false}]}""",
    """{"Event": {"Attribute": [{"type": "ip-dst", "value": "203.0.113.1", "to_ids": true}],
    "Object": [{"Attribute": [{"type": "ip-src|port", "value": "203.0.113.2|80"}]}]}}""",
    '{"name": "x", "type": "cidr", "version": 3, "list": ["203.0.113.0/24", "2001:db8::/32"]}',
    "# Rev 7\n\n#Spamhaus\n203.0.113.0/24\n2001:db8::1\n\ufeff\r\n;x\n",
)


def one(data: bytes) -> None:
    name = _NAMES[data[0] % len(_NAMES)] if data else _NAMES[0]
    try:
        body = unpacked("fuzz", data[1:], MAX_UNPACKED_BYTES)
    except FeedError as error:
        assert error.reason
        return
    assert len(body) <= max(MAX_UNPACKED_BYTES, len(data))
    text = decode(body)
    is_html(text)
    parse(name, text)


def seeds() -> list[bytes]:
    texts = [text.encode() for text in (FEODO, DSHIELD, TOR, ZEEK, DROP, *_MORE)]
    texts += [path.read_bytes()[:2_000] for path in sorted(_SAMPLES.glob("*"))]
    texts += [path.read_bytes()[:1_500] for path in sorted((sflow.DATA / "feeds").glob("*"))]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("list.txt", texts[0])
    bodies = [*texts, gzip.compress(texts[0], mtime=0), packed.getvalue(), texts[1].decode().encode("utf-16")]
    return [bytes((number,)) + body for body in bodies for number in range(len(_NAMES))]
