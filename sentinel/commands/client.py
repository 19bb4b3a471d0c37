# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The running daemon, asked over its own REST API."""

from typing import Any

import requests

from sentinel.config.settings import Settings
from sentinel.errors import ConfigError, OutsideError

TIMEOUT_S = 60.0


class DaemonUnreachable(OutsideError):  # noqa: N818  # a state of the world, not a mistake
    """Nothing answers at the configured address."""


class DaemonClient:
    """``url`` is the API's root. Raises ``OutsideError`` with the daemon's own words."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    @classmethod
    def of_settings(cls, settings: Settings) -> "DaemonClient":
        """The daemon these settings describe, with the first token of its own token file."""
        host, port = settings.web.listen
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # not bound here, replaced
        name = f"[{host}]" if ":" in host else host
        token = None
        if settings.web.token_file is not None:
            try:
                lines = settings.web.token_file.read_text(encoding="ascii").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError("web.token_file", [f"{settings.web.token_file} cannot be read: {error}"]) from error
            rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
            token = rows[0][-1] if rows else None
        return cls(f"http://{name}:{port}", token)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request under ``/api/v1``; its JSON."""
        headers = {"Content-Type": "application/json"}
        try:
            response = self._session.request(
                method,
                f"{self._url}/api/v1{path}",
                json=body,
                headers=headers,
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
            answer = response.json() if response.content else {}
        except requests.exceptions.ConnectionError as error:
            raise DaemonUnreachable(f"no daemon answers at {self._url}; is `sentinel run` running?") from error
        except (requests.exceptions.RequestException, ValueError) as error:
            raise OutsideError(f"the daemon at {self._url} gave no usable answer: {error}") from error
        if not response.ok:
            words = answer if isinstance(answer, dict) else {}
            raise OutsideError(str(words.get("detail") or words.get("error") or f"status {response.status_code}"))
        return answer

    def refresh_feed(self, name: str) -> str:
        self.ask("POST", f"/feeds/{name}/refresh", {})
        return "refreshed by the daemon"
