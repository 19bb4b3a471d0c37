# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Talking with the shims: each action becomes one bounded HTTP request, each answer one event.

One request at a time per switch and in order; a switch that does not answer holds one worker, and after a few
failures not even that: its circuit opens and actions fail at once until it is due for another try.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from sentinel import __version__, limits
from sentinel.capture import actions, events
from sentinel.capture.counters import HTTP_OTHER, switch_counters
from sentinel.errors import SwitchError
from sentinel.model import Switch

log = logging.getLogger(__name__)

CIRCUIT_AFTER = 3
CIRCUIT_OPEN_S = 5.0
# Answers that repeat themselves however often this rule is offered; wrong credentials (401, 403) a person can mend.
_PERMANENT = {400, 404, 409, 413, 415, 507}


@dataclass(frozen=True, slots=True)
class Access:
    """How to prove who we are and who they are. ``token`` is sent only over https."""

    erspan_destination: str = ""
    ca_file: Path | None = None
    client_cert: tuple[Path, Path] | None = None
    token: str | None = None


class SwitchClient:
    """One shim over HTTP. Raises ``SwitchError``, never anything of ``requests``."""

    def __init__(self, name: str, url: str, access: Access) -> None:
        self.name = name
        self._erspan_destination = access.erspan_destination
        # No session: it would add proxies, cookies and redirects, which are for the outside world, and take its time.
        self._adapter = HTTPAdapter()
        self._verify = str(access.ca_file) if access.ca_file else True
        self._cert = (str(access.client_cert[0]), str(access.client_cert[1])) if access.client_cert else None
        headers = {"Accept-Encoding": "identity", "User-Agent": f"sentinel/{__version__}"}
        if access.token and url.startswith("https:"):
            headers["Authorization"] = f"Bearer {access.token}"
        self._blank = requests.Request("GET", url, headers=headers).prepare()
        self._base = str(self._blank.url).rstrip("/")

    def close(self) -> None:
        self._adapter.close()

    def install(self, rule: str, lines: tuple[str, ...], ttl_s: int) -> bool:
        """Returns whether the switch changed."""
        answer = self._json("PUT", f"/acl/{rule}?ttl={ttl_s}", lines)
        return answer.get("changed") is not False

    def remove(self, rule: str) -> None:
        self._request("DELETE", f"/acl/{rule}", None)

    def amend(self, changes: Iterable[actions.Install | actions.Remove]) -> tuple[events.Outcome, ...]:
        """Many changes at once; what became of each. A name that the answer does not mention failed."""
        asked = tuple(changes)
        body = {c.rule: {"lines": c.lines, "ttl": c.ttl_s} if isinstance(c, actions.Install) else None for c in asked}
        answer = self._json("PATCH", "/acl/", body)
        done = {what: _names(answer.get(what), self.name) for what in ("installed", "unchanged", "removed")}
        failed = _mapping(answer.get("failed"), self.name)
        outcomes: list[events.Outcome] = []
        for change in asked:
            if isinstance(change, actions.Remove) and change.rule in done["removed"]:
                outcomes.append(events.Removed(self.name, change.rule))
            elif isinstance(change, actions.Install) and change.rule in done["installed"] | done["unchanged"]:
                outcomes.append(events.Installed(self.name, change.rule, change.rule in done["installed"]))
            else:
                row = _mapping(failed.get(change.rule, {}), self.name)
                status = _count(row.get("status")) or 502
                why = str(row.get("error", "the answer does not name it"))[:300]
                outcomes.append(_not_done(change, _http_error(self.name, status, why)))
        return tuple(outcomes)

    def renew(self, ttl_s: int) -> dict[str, events.RuleOnSwitch]:
        renewed = _mapping(self._json("POST", f"/acl/renew?ttl={ttl_s}", {}).get("renewed"), self.name)
        return {name: self._rule(row, ours=True) for name, row in renewed.items()}

    def list(self) -> events.Listed:
        answer = self._json("GET", "/acl/?detail=1", None)
        me = answer.get("owner")
        acls = _mapping(answer.get("acls"), self.name)
        rules = {name: self._rule(row, ours=_mapping(row, self.name).get("owner") == me) for name, row in acls.items()}
        max_rules = answer.get("max_rules")
        return events.Listed(
            switch=self.name,
            rules=rules,
            ipv6=answer.get("ipv6") is True,
            max_rules=max_rules if isinstance(max_rules, int) and max_rules > 0 else 2**31,
            unreachable=_unreachable(answer.get("erspan"), self._erspan_destination),
            tcam_free=_count(answer.get("tcam_free")),
        )

    def health(self) -> dict[str, Any]:
        """``/healthz`` of something that says it is ``switch-acl-api``."""
        answer = self._json("GET", "/healthz", None)
        if answer.get("service") != "switch-acl-api":
            raise SwitchError(self.name, "not_a_shim", "answers, but not as switch-acl-api", permanent=True)
        return answer

    def _rule(self, row: object, *, ours: bool) -> events.RuleOnSwitch:
        values = _mapping(row, self.name)
        lines = values.get("lines")
        return events.RuleOnSwitch(
            packets=_count(values.get("packets")),
            bytes=_count(values.get("bytes")),
            ours=ours,
            lines=tuple(str(line) for line in lines) if isinstance(lines, list) else None,
        )

    def _json(self, method: str, path: str, body: object) -> dict[str, Any]:
        content = self._request(method, path, body)
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise SwitchError(self.name, "nonsense", f"{method} {path.partition('?')[0]} answered no JSON object")
        return answer

    def _request(self, method: str, path: str, body: object) -> bytes:
        deadline = time.monotonic() + limits.SWITCH_ANSWER_TIMEOUT_S
        try:
            with self._adapter.send(
                self._filled_in(method, path, body),
                stream=True,
                timeout=(limits.SWITCH_CONNECT_TIMEOUT_S, limits.SWITCH_ANSWER_TIMEOUT_S),
                verify=self._verify,
                cert=self._cert,
            ) as response:
                content = self._read(response, deadline)
                status = response.status_code
        except requests.exceptions.SSLError as error:
            raise SwitchError(self.name, "tls", f"TLS: {_short(error)}") from error
        except requests.exceptions.Timeout as error:
            raise SwitchError(self.name, "timeout", "did not answer in time") from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise SwitchError(self.name, "connection", _short(error)) from error
        if not 200 <= status < 300:
            raise _http_error(self.name, status, _error_text(content))
        return content

    def _filled_in(self, method: str, path: str, body: object) -> requests.PreparedRequest:
        """``path`` is ASCII and needs no quoting."""
        request = self._blank.copy()
        request.method = method
        request.url = self._base + path
        if body is not None:
            request.body = json.dumps(body).encode()
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(request.body))
        return request

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        content = bytearray()
        for chunk in response.iter_content(65_536):
            content += chunk
            if len(content) > limits.MAX_SWITCH_ANSWER_BYTES:
                raise SwitchError(self.name, "too_large", f"answered more than {limits.MAX_SWITCH_ANSWER_BYTES} octets")
            if time.monotonic() > deadline:
                raise SwitchError(self.name, "timeout", "did not finish its answer in time")
        return bytes(content)


class SwitchPool:
    """Carries out switch actions, in order per switch, and tells ``on_event`` exactly one event for each.

    ``access``: credentials for all switches; ``url_of_agent``: the URL to probe for an agent that is in no inventory.
    """

    def __init__(
        self,
        access: Access,
        url_of_agent: Callable[[str], str | None],
        on_event: Callable[[events.Event], None],
    ) -> None:
        self._access = access
        self._url_of_agent = url_of_agent
        self._on_event = on_event
        self._urls: dict[str, str] = {}
        self._clients: dict[str, SwitchClient] = {}
        self._queues: dict[str, deque[actions.SwitchAction]] = {}
        self._failures: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(limits.SWITCH_WORKERS, thread_name_prefix="switch")
        self._stopping = False
        self.counters = switch_counters()

    def add(self, switch: Switch) -> None:
        with self._lock:
            self._urls[switch.name] = switch.url

    def send(self, action: actions.SwitchAction) -> None:
        """Queue behind what is already waiting for that switch."""
        key = action.agent if isinstance(action, actions.Probe) else action.switch
        with self._lock:
            if self._stopping:
                return
            queue = self._queues.get(key)
            if queue is not None:
                queue.append(action)
                return
            self._queues[key] = deque([action])
            self._workers.submit(self._drain, key)

    def stop(self) -> None:
        """What waits is dropped (the store has its intent); what is under way ends in its own time limit."""
        with self._lock:
            self._stopping = True
            for queue in self._queues.values():
                queue.clear()
        self._workers.shutdown(wait=True, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    def _drain(self, key: str) -> None:
        while True:
            with self._lock:
                queue = self._queues[key]
                if not queue:
                    del self._queues[key]
                    return
                action = queue.popleft()
            self._on_event(self._carry_out(key, action))

    def _carry_out(self, key: str, action: actions.SwitchAction) -> events.Event:
        started = time.monotonic()
        failures, retry_at = self._failures.get(key, (0, 0.0))
        try:
            if failures >= CIRCUIT_AFTER and started < retry_at:
                raise SwitchError(key, "circuit_open", f"not asked: {failures} failures in a row")
            event = self._ask(action)
        except SwitchError as error:
            self._count(f"failed_{error.reason}")
            if error.reason != "circuit_open" and not error.permanent:
                self._failures[key] = (failures + 1, time.monotonic() + CIRCUIT_OPEN_S)
            return _failure(action, error)
        except Exception as error:
            # The engine counts on one event per action, whatever went wrong in here.
            log.exception("action to %s failed in an unforeseen way", key)
            self._count("failed_internal")
            return _failure(action, SwitchError(key, "internal", repr(error)))
        self._failures.pop(key, None)
        self._count(f"{type(action).__name__.lower()}_ok")
        return event

    def _ask(self, action: actions.SwitchAction) -> events.Event:
        match action:
            case actions.Install(switch, rule, lines, ttl_s):
                return events.Installed(switch, rule, self._client(switch).install(rule, lines, ttl_s))
            case actions.Remove(switch, rule):
                self._client(switch).remove(rule)
                return events.Removed(switch, rule)
            case actions.Bulk(switch, changes):
                return events.BulkAnswered(switch, self._client(switch).amend(changes))
            case actions.Renew(switch, ttl_s):
                return events.Renewed(switch, self._client(switch).renew(ttl_s))
            case actions.List(switch):
                return self._client(switch).list()
            case actions.Probe(agent):
                return self._probe(agent)

    def _probe(self, agent: str) -> events.Event:
        url = self._url_of_agent(agent)
        if url is None:
            raise SwitchError(agent, "no_url", "no URL is configured for it", permanent=True)
        client = SwitchClient(agent, url, self._access)
        try:
            answer = client.health()
        finally:
            client.close()
        switch = Switch(agent, (agent,), url, agent, ipv6=answer.get("ipv6") is True)
        self.add(switch)
        return events.SwitchFound(switch)

    def _client(self, name: str) -> SwitchClient:
        with self._lock:
            if name not in self._clients:
                if name not in self._urls:
                    raise SwitchError(name, "no_url", "is not in the inventory", permanent=True)
                self._clients[name] = SwitchClient(name, self._urls[name], self._access)
            return self._clients[name]

    def _count(self, what: str) -> None:
        with self._lock:
            # A status is the other side's choice: one that nobody foresaw makes no counter of its own.
            self.counters[what if what in self.counters else HTTP_OTHER] += 1


def _failure(action: actions.SwitchAction, error: SwitchError) -> events.Event:
    match action:
        case actions.Install() | actions.Remove():
            return _not_done(action, error)
        case actions.Bulk(switch, changes):
            # Of the request as a whole: it says nothing final of any single rule.
            whole = SwitchError(switch, error.reason, error.detail)
            return events.BulkAnswered(switch, tuple(_not_done(change, whole) for change in changes))
        case actions.Probe(agent):
            return events.ProbeFailed(agent, error.detail)
        case actions.Renew(switch) | actions.List(switch):
            return events.SwitchFailed(switch, error.reason, error.detail)


def _not_done(change: actions.Install | actions.Remove, error: SwitchError) -> events.Outcome:
    if isinstance(change, actions.Install):
        return events.InstallFailed(change.switch, change.rule, error.reason, error.detail, error.permanent)
    return events.RemoveFailed(change.switch, change.rule, error.reason, error.detail)


def _http_error(switch: str, status: int, text: str) -> SwitchError:
    """An answer that is no success, for a whole request or one name of it."""
    reason = "full" if status == 507 else f"http_{status}"
    return SwitchError(switch, reason, f"{status}: {text}", permanent=status in _PERMANENT)


def _names(value: object, switch: str) -> set[str]:
    if not isinstance(value, list):
        raise SwitchError(switch, "nonsense", "answered JSON of another shape than openapi.yaml says")
    return {str(name) for name in value}


def _mapping(value: object, switch: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SwitchError(switch, "nonsense", "answered JSON of another shape than openapi.yaml says")
    return value


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _unreachable(erspan: object, destination: str) -> str | None:
    """Why the switch cannot mirror to our ERSPAN destination; ``None`` where it can, or does not say."""
    rows = [row for row in erspan if isinstance(row, dict)] if isinstance(erspan, list) else []
    ours = [row for row in rows if row.get("destination") == destination]
    if rows and not ours:
        return f"{destination} is not among its erspan_destinations"
    for row in ours:
        if row.get("reachable") is False:
            return str(row.get("detail") or "unreachable")[:200]
    return None


def _error_text(content: bytes) -> str:
    try:
        answer = json.loads(content)
        text = str(answer["error"])
        token = answer.get("token")
        return (f"{text} ({token})" if token else text)[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        return content[:100].decode("ascii", "replace")


def _short(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return str(getattr(reason, "reason", reason))[:200]
