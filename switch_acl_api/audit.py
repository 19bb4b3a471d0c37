# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One JSON line per change, on standard error, where journald keeps it."""

import json
import logging
import time
from typing import Optional

_log = logging.getLogger("switch_acl_api.audit")


def audit(action: str, name: str, owner: str, peer: str, result: int, rules: int, error: Optional[str] = None) -> None:
    """``action`` is put, delete or expire; ``result`` the HTTP status; ``owner`` who asked. JSON escapes the rest."""
    line = {
        "event": "acl",
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "action": action,
        "name": name,
        "owner": owner,
        "peer": peer,
        "result": result,
        "rules": rules,
    }
    if error:
        line["error"] = error
    _log.info("%s", json.dumps(line, sort_keys=True))
