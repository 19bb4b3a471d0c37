# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator, Sequence

class Batch:
    count: int
    at: float
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[bytes, str, float]]: ...

class BatchReceiver:
    datagrams: int
    bytes: int
    truncated: int
    def __init__(self, most: int, max_bytes: int) -> None: ...
    def receive(self, fd: int, wake_fd: int, timeout_ms: int) -> Batch: ...

def batch_of(payloads: Sequence[bytes], senders: Sequence[bytes], at: float) -> Batch: ...
