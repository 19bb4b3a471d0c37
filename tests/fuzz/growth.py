# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the process grows while inputs go through it that leave nothing behind."""

import resource

# The seeds are through, and caches, free lists and the fuzzer's own corpus have about found their size by then.
WARM_UP_INPUTS = 3_000
# The highest memory ever used may rise by this afterwards: what one input may need at worst (8 KiB times the 200 that
# the decoder may use for each octet, and tables), the fuzzer's corpus, and the allocator's own. A leak of 10 KiB an
# input is found within 10,000 inputs, which is a minute's run.
MAX_GROWTH_KB = 96 * 1024


class Growth:
    """``check`` after every input: raises ``AssertionError`` when the process has grown beyond the bound."""

    def __init__(self, warm_up_inputs: int = WARM_UP_INPUTS, max_growth_kb: int = MAX_GROWTH_KB) -> None:
        self._warm_up_inputs = warm_up_inputs
        self._max_growth_kb = max_growth_kb
        self._inputs = 0
        self._before_kb = 0

    def check(self) -> None:
        self._inputs += 1
        if self._inputs <= self._warm_up_inputs:
            self._before_kb = _peak_kb()
        elif self.grown_kb > self._max_growth_kb:
            raise AssertionError(f"{self}: more than {self._max_growth_kb} kB")

    @property
    def grown_kb(self) -> int:
        return _peak_kb() - self._before_kb if self._before_kb else 0

    def __str__(self) -> str:
        return f"grown by {self.grown_kb} kB in the last {max(self._inputs - self._warm_up_inputs, 0)} inputs"


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
