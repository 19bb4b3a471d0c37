# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Network namespaces for the lab: unique names, no link to the outside, programs ended by their pid, nothing left."""

import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def why_no_lab(*programs: str) -> str:
    """Why this machine can be no lab that needs ``programs``, in one line; empty when it can."""
    if sys.platform != "linux":
        return "the lab needs Linux"
    if os.geteuid() != 0:
        return "the lab needs root (network namespaces)"
    missing = [program for program in ("ip", *programs) if shutil.which(program) is None]
    if missing:
        return f"the lab needs {', '.join(missing)}"
    name = f"lab{secrets.token_hex(3)}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        return f"the lab needs network namespaces: {tried.stderr.strip()[:100]}"
    # In a bare chroot a namespace can be made but not entered: its root is no mount point.
    tried = subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], check=False)
    return f"the lab needs namespaces it can enter: {tried.stderr.strip()[:100]}" if tried.returncode else ""


def require_lab(*programs: str) -> None:
    """Skip the module that calls this at its top, with one clear line, where the lab cannot be."""
    reason = why_no_lab(*programs)
    if reason:
        pytest.skip(reason, allow_module_level=True)


def run(*argv: str, seconds: float = 20.0, env: dict[str, str] | None = None) -> str:
    """Standard output of a program that must succeed."""
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL, env=env
    )
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout


class Namespace:
    """One network namespace. ``name`` is its full, unique name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def argv(self, *argv: str) -> list[str]:
        """``argv`` inside; ``ip`` becomes the program itself, so a child's pid is the program's."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, seconds: float = 20.0, env: dict[str, str] | None = None) -> str:
        return run(*self.argv(*argv), seconds=seconds, env=env)

    def ip(self, *arguments: str) -> str:
        return run("ip", "-n", self.name, *arguments)

    def address(self, device: str, *addresses: str) -> None:
        """``device`` up, with ``addresses`` ("10.0.0.1/24", "fd00::1/64")."""
        for address in addresses:
            self.ip("addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
        self.ip("link", "set", device, "up")

    def sysctl(self, key: str, value: str) -> None:
        self.run("sh", "-c", 'echo "$2" > /proc/sys/"$1"', "sysctl", key.replace(".", "/"), value)

    def plain_frames(self, device: str) -> None:
        """What leaves is what a wire carries: checksums filled in, no super-packets."""
        self.run("ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread opens within belong to the namespace."""
        with Path("/proc/thread-self/ns/net").open("rb") as home, self.path.open("rb") as there:
            _setns(there)
            try:
                yield
            finally:
                _setns(home)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        with self.entered():
            return socket.socket(family, kind, protocol)


class Namespaces:
    """Several of them with one unique prefix, and the programs started in them; ``close`` leaves nothing."""

    def __init__(self) -> None:
        self.prefix = f"l{secrets.token_hex(3)}"
        self._all: list[Namespace] = []
        self._children: list[subprocess.Popen[bytes]] = []

    def add(self, name: str) -> Namespace:
        made = Namespace(f"{self.prefix}-{name}")
        self._all.append(made)
        return made

    def link(self, one: Namespace, device: str, other: Namespace, peer: str, mtu: int = 1500) -> None:
        """A veth pair from ``device`` in ``one`` to ``peer`` in ``other``, both up, with plain frames."""
        run(
            "ip", "link", "add", device, "netns", one.name, "mtu", str(mtu),
            "type", "veth", "peer", "name", peer, "netns", other.name, "mtu", str(mtu),
        )  # fmt: skip
        for namespace, name in ((one, device), (other, peer)):
            namespace.plain_frames(name)
            namespace.ip("link", "set", name, "up")

    def start(
        self,
        namespace: Namespace,
        argv: Sequence[str],
        *,
        output: Path | None = None,
        stdout: IO[bytes] | int | None = None,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> "subprocess.Popen[bytes]":
        """A program in ``namespace``; what it says goes to ``output`` (standard output to ``stdout`` where given)."""
        log = output.open("ab") if output else None
        try:
            child = subprocess.Popen(
                namespace.argv(*argv),
                stdin=subprocess.DEVNULL,
                stdout=stdout if stdout is not None else log or subprocess.DEVNULL,
                stderr=log or subprocess.DEVNULL,
                env=env,
                cwd=cwd,
            )
        finally:
            if log:
                log.close()
        self._children.append(child)
        return child

    def end(self, child: "subprocess.Popen[bytes]", seconds: float = 5.0) -> int:
        """Ask it to end, and see that it does."""
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child.stdout is not None:
            child.stdout.close()
        return child.returncode

    def close(self) -> None:
        for child in reversed(self._children):
            self.end(child)
        self._children.clear()
        for namespace in reversed(self._all):
            run("ip", "netns", "del", namespace.name)
        self._all.clear()

    def left(self) -> list[str]:
        """Names of ours that still exist."""
        rows = run("ip", "netns", "list").splitlines()
        return [row.split()[0] for row in rows if row.startswith(self.prefix)]


def _setns(target: IO[bytes]) -> None:
    if _libc.setns(target.fileno(), _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
