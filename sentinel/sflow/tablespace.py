# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The room in a switch's ingress ACL table, as its counter samples report it (sFlow Broadcom structures, 4413:3)."""

from sentinel.model import CountersSample

# sFlow v5: a counter that the agent does not keep is all ones.
UNKNOWN_COUNTER = 0xFFFFFFFF


def free_entries(sample: CountersSample) -> int | None:
    """Return how many entries are free; ``None`` if the sample does not tell, or contradicts itself."""
    for record in sample.records:
        used, most = (record.fields.get(f"acl_ingress_entries{end}") for end in ("", "_max"))
        if isinstance(used, int) and isinstance(most, int) and used <= most < UNKNOWN_COUNTER:
            return most - used
    return None
