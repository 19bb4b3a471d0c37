# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed. Each module is one target:

- ``seeds()``: inputs to begin with, made by the project's own encoders or taken from recordings;
- ``one(data)``: swallows any octets; an exception is a finding, so what may be raised is caught there by name;
- ``mutate(data, chance, blend)``, where octets alone do not reach deep: another input out of this one. ``blend``
  changes octets without knowing what they mean;
- ``WORDS``, where it reads text: tokens worth putting in.
"""

# Each target, and the packages whose Python code guides it.
COVERED: dict[str, list[str]] = {
    # What its plain twin does the compiled scan does too: guided by that alone it runs at three times the speed.
    "twins": [],
    "tables": ["sentinel.blacklist"],
    "keepers": ["sentinel.erspan"],
    "decoder": ["sentinel.sflow"],
    "erspan": ["sentinel.erspan", "sentinel.packets"],
    "recordings": ["sentinel.packets", "sentinel.sflow.recorded", "sentinel.erspan"],
    "feeds": ["sentinel.blacklist"],
    "rules": ["switch_acl_api"],
    "heads": ["switch_acl_api.head"],
    "filters": ["sentinel.filters"],
}
