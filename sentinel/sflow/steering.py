# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Several sockets on one port (SO_REUSEPORT), and which of them a datagram goes to: that of its agent.

By itself the kernel chooses by the sender's address and port; an agent whose port changes would move, and its sequence
numbers with it. A classic BPF program looks into the datagram instead: the agent's IPv4 address is at octet 8, the last
four octets of an IPv6 one at 20 (sFlow v5, sample_datagram_v5). Too short a datagram goes to the first socket.
"""

import ctypes
import socket
from struct import pack

# Linux: asm-generic/socket.h.
_SO_ATTACH_REUSEPORT_CBPF = 51
_IPV6 = 2
# linux/bpf_common.h: load a word at an offset, compare, jump, modulo, return what was computed.
_LD_W_ABS, _JEQ_K, _JA, _MOD_K, _RET_A = 0x20, 0x15, 0x05, 0x94, 0x16


def program(sockets: int) -> bytes:
    """The instructions (struct sock_filter) that give the number of the socket."""
    steps = (
        (_LD_W_ABS, 0, 0, 4),
        (_JEQ_K, 2, 0, _IPV6),
        (_LD_W_ABS, 0, 0, 8),
        (_JA, 0, 0, 1),
        (_LD_W_ABS, 0, 0, 20),
        (_MOD_K, 0, 0, sockets),
        (_RET_A, 0, 0, 0),
    )
    return b"".join(pack("=HBBI", *step) for step in steps)


def share(bound: socket.socket) -> None:
    """Let others bind the same address and port; before binding."""
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def steer(bound: socket.socket, sockets: int) -> None:
    """Attach the program to the group that ``bound`` belongs to; raises ``OSError`` where the system has none such."""
    code = ctypes.create_string_buffer(program(sockets))
    # struct sock_fprog: a length in instructions of eight octets, padding, a pointer.
    fprog = pack("@HP", (len(code) - 1) // 8, ctypes.addressof(code))
    bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, fprog)
