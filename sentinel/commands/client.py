# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The running daemon, asked over its own REST API."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import requests

from sentinel import tokenfile
from sentinel.commands.access import ClientAccess
from sentinel.errors import OutsideError

if TYPE_CHECKING:
    # Wireshark calls the extcap program several times at its start; reading daemon settings is slow to import.
    from sentinel.config.settings import Settings

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 60.0
CHUNK_BYTES = 64 * 1024


class DaemonUnreachable(OutsideError):  # noqa: N818  # a state of the world, not a mistake
    """Nothing answers at the configured address."""


class DaemonClient:
    """Asks at ``access.url``, the root of the daemon's HTTP. Raises ``OutsideError`` with the daemon's own words."""

    def __init__(self, access: ClientAccess) -> None:
        self.url = access.url
        self._session = requests.Session()
        self._session.trust_env = False
        if access.ca_file is not None:
            self._session.verify = str(access.ca_file)
        if access.token:
            self._session.headers["Authorization"] = f"Bearer {access.token}"

    @classmethod
    def of_settings(cls, settings: "Settings") -> "DaemonClient":
        """The daemon these settings describe, with the first token of its own token file."""
        host, port = settings.web.listen
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # not bound here, replaced
        name = f"[{host}]" if ":" in host else host
        token = None
        if settings.web.token_file is not None:
            token = tokenfile.token(settings.web.token_file, "first_line", readers="owner", key="web.token_file")
        return cls(ClientAccess(f"http://{name}:{port}", token))

    def close(self) -> None:
        self._session.close()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        """One request under ``/api/v1``; its JSON."""
        response = self._request(method, path, timeout_s, body=body)
        try:
            return response.json() if response.content else {}
        except (requests.exceptions.RequestException, ValueError) as error:
            raise OutsideError(f"the daemon at {self.url} gave no usable answer: {error}") from error

    def stream(self, path: str) -> Generator[bytes]:
        """The octets of one answer under ``/api/v1``, as they come; nothing is asked before the first is wanted."""
        with self._request("GET", path, TIMEOUT_S, stream=True) as response:
            try:
                yield from response.iter_content(CHUNK_BYTES)
            except requests.exceptions.RequestException as error:
                raise OutsideError(f"the daemon at {self.url} broke off: {error}") from error

    def refresh_feed(self, name: str) -> str:
        self.ask("POST", f"/feeds/{name}/refresh", {})
        return "refreshed by the daemon"

    def accept_feed(self, name: str) -> str:
        self.ask("POST", f"/feeds/{name}/accept", {})
        return "accepted by the daemon"

    def feeds(self) -> list[dict[str, Any]]:
        """One row per feed."""
        answer = self.ask("GET", "/feeds")
        rows = answer.get("feeds") if isinstance(answer, dict) else None
        return [row for row in rows or () if isinstance(row, dict)]

    def _request(
        self, method: str, path: str, timeout_s: float, *, body: dict[str, Any] | None = None, stream: bool = False
    ) -> requests.Response:
        """The answer to one request, which is a good one."""
        try:
            response = self._session.request(
                method,
                f"{self.url}/api/v1{path}",
                json=body,
                headers={"Content-Type": "application/json"},
                timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
                allow_redirects=False,
                stream=stream,
            )
        except requests.exceptions.SSLError as error:
            raise OutsideError(f"the daemon at {self.url} cannot be trusted: {error}") from error
        except requests.exceptions.ConnectionError as error:
            raise DaemonUnreachable(f"no daemon answers at {self.url}; is `sentinel run` running?") from error
        except requests.exceptions.RequestException as error:
            raise OutsideError(f"the daemon at {self.url} gave no usable answer: {error}") from error
        if not 200 <= response.status_code < 300:
            raise OutsideError(_words(response))
        return response


def _words(response: requests.Response) -> str:
    """Why the daemon refused, in its own words."""
    try:
        words = response.json() if response.content else {}
    except (requests.exceptions.RequestException, ValueError):
        words = {}
    said = words.get("detail") or words.get("error") if isinstance(words, dict) else None
    return str(said or f"status {response.status_code}")
