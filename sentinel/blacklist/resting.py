# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Work that makes a million objects and no cycles, without the cycle collector looking through them again and again.

Each look holds every thread, the matching ones too, and there would be hundreds: for every 700 new objects one, and for
every hundredth of them one through everything the process holds.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_resting() -> Iterator[None]:
    """The collector of this process pauses; where it does already, for other reasons, it is left so.

    Afterwards it never looks at what is alive by then. Nothing made in here may be part of a cycle. Cycles that were
    given up before are collected first, else each time would keep some of them for ever; it takes milliseconds, for
    what rested before is not looked at.
    """
    was_enabled = gc.isenabled()
    if was_enabled:
        gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()
