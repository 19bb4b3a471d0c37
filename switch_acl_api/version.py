# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The shim's own version; it travels alone, in a zipapp."""

VERSION = "1.0.0"
SERVICE = "switch-acl-api"
