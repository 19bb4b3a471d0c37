# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
from sentinel.cli import main

if __name__ == "__main__":
    main()
