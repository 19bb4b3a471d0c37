# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Sentinel: sampled traffic in, a mirror of exactly the suspicious conversation out."""

__version__ = "0.1.0"
