# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m switch_acl_api`` and the zipapp's entry."""

import sys

from switch_acl_api.cli import main

if __name__ == "__main__":
    sys.exit(main())
