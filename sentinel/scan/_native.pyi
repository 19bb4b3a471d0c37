# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from sentinel.blacklist.trie import Blacklist
from sentinel.columns import Table
from sentinel.model import Indicator
from sentinel.receive._native import Batch
from sentinel.receive.batches import Received
from sentinel.scan.counters import ScanCounters
from sentinel.scan.plain import ScanResult
from sentinel.sflow.admission import Admission, Refusal
from sentinel.sflow.agents import AgentHealth

class Frozen:
    def __init__(self, blacklist: Blacklist) -> None: ...
    @property
    def size_bytes(self) -> int: ...
    def lookup_packed(self, packed: bytes) -> tuple[Indicator, ...]: ...
    def covering(self, packed: bytes) -> tuple[Indicator, ...]: ...
    def entries(self) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]: ...

class Health:
    overflow: int
    sources_overflow: int
    def __init__(self, max_streams: int = ...) -> None: ...
    def snapshot(self) -> list[AgentHealth]: ...

class TakenFlows:
    packets: int
    bytes: int
    samples: int
    def __len__(self) -> int: ...
    def table(self) -> Table: ...

class Flows:
    evicted: int
    def __init__(self, max_flows: int = ...) -> None: ...
    def __len__(self) -> int: ...
    def take(self) -> TakenFlows: ...

class NativeScan:
    implementation: Literal["native"]
    agents: Health | None
    flows: Flows | None
    def __init__(
        self,
        admission: Admission | None = None,
        agents: Health | None = None,
        erspan_destinations: Iterable[str] = (),
        flows: Flows | None = None,
    ) -> None: ...
    @property
    def counters(self) -> ScanCounters: ...
    def refusals(self) -> list[Refusal]: ...
    def scan(self, batch: Sequence[Received] | Batch, blacklist: Blacklist) -> ScanResult: ...

def frozen(blacklist: Blacklist) -> Frozen: ...
