# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Every bound on what the outside may make us hold or do: value, unit, arithmetic, reason.

A number that bounds untrusted input stands here and nowhere else, grouped by stage.
"""

KIB = 1024
MIB = 1024 * KIB

# --- sflow ---------------------------------------------------------------------------------------
# One UDP datagram over IPv4 without jumbograms: 65,535 - 20 (IP) - 8 (UDP).
MAX_DATAGRAM_BYTES = 65_507
# A sample is at least 8 octets (tag, length), so no honest datagram holds more.
MAX_SAMPLES_PER_DATAGRAM = MAX_DATAGRAM_BYTES // 8
# Likewise for the records of one sample.
MAX_RECORDS_PER_SAMPLE = MAX_DATAGRAM_BYTES // 8
