# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""From recorded frames to whole IP packets: link layer, IP headers, fragments put together."""

from sentinel.packets.fragments import Reassembler
from sentinel.packets.ip import Outer, parse
from sentinel.packets.link import ip_packet
from sentinel.packets.pcap import RecordedPacket


class PacketReader:
    """The reader of one recording, whose own times age its fragments."""

    def __init__(self) -> None:
        self.fragments = Reassembler()

    def read(self, recorded: RecordedPacket) -> Outer | None:
        """Return the packet in a frame, or the one that its piece completes; ``None``: other pieces are missing yet.

        Raises ``DecodeError``, with the code ``not_ip`` for a frame of another protocol.
        """
        return self.fragments.add(parse(ip_packet(recorded.link_type, recorded.data)), recorded.at)
