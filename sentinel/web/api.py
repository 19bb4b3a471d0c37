# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The routes under ``/api/v1``; ``openapi.json`` is their full text."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, cast, get_args

from flask import Blueprint, Response, g, jsonify, request, url_for
from werkzeug.wsgi import wrap_file

from sentinel.limits import (
    DEFAULT_LIST_ROWS,
    MAX_CAPTURE_REQUEST_S,
    MAX_EVENTS_PER_POLL,
    MAX_FLOW_QUERIES,
    MAX_LIST_ROWS,
    MAX_LONG_POLL_S,
    PCAP_CHUNK_BYTES,
)
from sentinel.model import Capture, CaptureState, Detection, Evidence
from sentinel.web import flowquery, inputs, views
from sentinel.web.backend import Backend, NotHere, Row
from sentinel.web.longpoll import LongPolls
from sentinel.web.pcap import Joined, PcapStreams
from sentinel.web.problem import Problem

PREFIX = "/api/v1"
DETECTION_STATES = ("open", "closed", "delisted")
EVIDENCES: tuple[str, ...] = get_args(Evidence)
CAPTURE_STATES: tuple[str, ...] = get_args(CaptureState)

# Query keys a route understands, by endpoint; a route that is not here understands none.
QUERIES: Mapping[str, frozenset[str]] = {
    "api.list_detections": frozenset({"state", "evidence", "local_ip", "listed_ip", "limit"}),
    "api.list_captures": frozenset({"state", "limit"}),
    "api.capture_pcap": frozenset({"follow"}),
    "api.list_flows": flowquery.QUERY,
    "api.list_events": frozenset({"after", "timeout", "limit"}),
}
MAX_EVENT_ID = 10**15


def _query() -> dict[str, str]:
    known = QUERIES.get(request.endpoint or "", frozenset())
    return inputs.checked_query(list(request.args.items(multi=True)), known)


def _body(known: frozenset[str] = frozenset()) -> dict[str, object]:
    return inputs.json_object(request.get_data(), known)


def _who() -> str:
    return str(g.who)


def _limit(query: Mapping[str, str]) -> int:
    return inputs.integer(query, "limit", DEFAULT_LIST_ROWS, 1, MAX_LIST_ROWS)


def _rows(name: str, rows: Sequence[Row], limit: int = MAX_LIST_ROWS) -> Response:
    return jsonify({name: [views.row(each) for each in rows[:limit]], "total": len(rows), "limit": limit})


def _not_found(what: str) -> Problem:
    return Problem(404, "not_found", f"no such {what}")


def blueprint(backend: Backend, polls: LongPolls, streams: PcapStreams) -> Blueprint:
    """Build the routes over ``backend``."""
    api = Blueprint("api", __name__, url_prefix=PREFIX)
    _add_detections(api, backend)
    _add_captures(api, backend)
    _add_pcap(api, backend, streams)
    _add_capture_changes(api, backend)
    _add_rows(api, backend)
    _add_flows(api, backend)
    _add_events(api, backend, polls)
    return api


def _add_detections(api: Blueprint, backend: Backend) -> None:
    def shown(found: Sequence[Detection]) -> list[views.Json]:
        captures = views.latest_by_pair(backend.captures())
        notes = backend.uncaptured()
        return [
            views.detection(each, captures.get((each.local_ip, each.listed_ip)), notes.get(each.id)) for each in found
        ]

    @api.get("/detections")
    def list_detections() -> Response:
        query = _query()
        limit = _limit(query)
        wanted = _detection_filter(query)
        found = [each for each in backend.detections() if wanted(each)]
        found.sort(key=lambda each: each.last_seen, reverse=True)
        return jsonify({"detections": shown(found[:limit]), "total": len(found), "limit": limit})

    @api.get("/detections/<detection_id>")
    def one_detection(detection_id: str) -> Response:
        _query()
        key = inputs.checked_id(detection_id)
        found = [each for each in backend.detections() if each.id == key]
        if not found:
            raise _not_found("detection")
        return jsonify(shown(found)[0])


def _detection_filter(query: Mapping[str, str]) -> Callable[[Detection], bool]:
    wanted: dict[str, str | None] = {
        "state": inputs.choice(query, "state", DETECTION_STATES),
        "evidence": inputs.choice(query, "evidence", EVIDENCES),
    }
    for key in ("local_ip", "listed_ip"):
        wanted[key] = inputs.address(query[key], key) if key in query else None
    given = {key: value for key, value in wanted.items() if value is not None}
    return lambda each: all(getattr(each, key) == value for key, value in given.items())


def _add_captures(api: Blueprint, backend: Backend) -> None:
    @api.get("/captures")
    def list_captures() -> Response:
        query = _query()
        state = inputs.choice(query, "state", CAPTURE_STATES)
        limit = _limit(query)
        found = sorted(backend.captures(), key=lambda each: each.created_at, reverse=True)
        wanted = [each for each in found if state is None or each.state == state]
        # What lives comes first, so that a limit never hides a rule that stands on a switch.
        wanted.sort(key=lambda each: each.state == "ended")
        return jsonify(
            {
                "captures": [
                    views.capture(each, backend.received(each.id), backend.rate_bps(each.id)) for each in wanted[:limit]
                ],
                "total": len(wanted),
                "limit": limit,
            }
        )

    @api.get("/captures/<capture_id>")
    def one_capture(capture_id: str) -> Response:
        _query()
        found = backend.capture(inputs.checked_id(capture_id))
        if found is None:
            raise _not_found("capture")
        return jsonify(views.capture(found, backend.received(found.id), backend.rate_bps(found.id)))


def _add_pcap(api: Blueprint, backend: Backend, streams: PcapStreams) -> None:
    @api.get("/captures/<capture_id>/pcap")
    def capture_pcap(capture_id: str) -> Response:
        follow = inputs.choice(_query(), "follow", ("0", "1")) == "1"
        key = inputs.checked_id(capture_id)
        found = backend.pcap(key)
        if isinstance(found, NotHere):
            raise Problem(409, "not_here", found.where)
        if follow and found.more:
            gone = request.environ.get("waitress.client_disconnected", _never_gone)
            # Whoever asks for the head alone must not take a place.
            head = request.method == "HEAD"
            return _pcapng(Response(() if head else streams.follow(lambda: backend.pcap(key), gone)), key)
        if not found.parts:
            raise Problem(409, "not_here", found.missing)
        try:
            joined = Joined(found.parts)
        except OSError as error:
            raise Problem(404, "not_found", "the file with the packets is gone") from error
        # A binary file to read from, which is all that is asked of it.
        chunks = wrap_file(request.environ, cast("IO[bytes]", joined), PCAP_CHUNK_BYTES)
        response = Response(chunks, direct_passthrough=True)
        response.content_length = joined.size
        return _pcapng(response, key)


def _pcapng(response: Response, capture_id: str) -> Response:
    response.mimetype = "application/x-pcapng"
    name = f"{capture_id.replace(':', '_')}.pcapng"
    response.headers["Content-Disposition"] = f"attachment; filename={name}"
    return response


def _add_capture_changes(api: Blueprint, backend: Backend) -> None:
    def answer(capture: Capture, status: int = 200) -> Response:
        response = jsonify(views.capture(capture, backend.received(capture.id), backend.rate_bps(capture.id)))
        response.status_code = status
        return response

    @api.post("/captures")
    def start_capture() -> Response:
        _query()
        body = _body(frozenset({"local_ip", "listed_ip", "seconds"}))
        local_ip, listed_ip = inputs.address_pair(body)
        seconds = inputs.body_seconds(body, MAX_CAPTURE_REQUEST_S)
        capture = backend.start_capture(local_ip, listed_ip, _who(), seconds)
        response = answer(capture, 201)
        response.headers["Location"] = url_for("api.one_capture", capture_id=capture.id)
        return response

    @api.delete("/captures/<capture_id>")
    def stop_capture(capture_id: str) -> Response:
        _query()
        _body()
        return answer(backend.stop(inputs.checked_id(capture_id), _who()))

    @api.post("/captures/<capture_id>/approve")
    def approve_capture(capture_id: str) -> Response:
        _query()
        _body()
        return answer(backend.approve(inputs.checked_id(capture_id), _who()))

    @api.post("/captures/<capture_id>/extend")
    def extend_capture(capture_id: str) -> Response:
        _query()
        key = inputs.checked_id(capture_id)
        seconds = inputs.body_seconds(_body(frozenset({"seconds"})), MAX_CAPTURE_REQUEST_S)
        if seconds is None:
            raise inputs.bad("seconds", "missing seconds")
        return answer(backend.extend(key, seconds, _who()))


def _add_rows(api: Blueprint, backend: Backend) -> None:
    @api.get("/agents")
    def list_agents() -> Response:
        _query()
        return _rows("agents", backend.agents())

    @api.get("/switches")
    def list_switches() -> Response:
        _query()
        return _rows("switches", backend.switches())

    @api.get("/feeds")
    def list_feeds() -> Response:
        _query()
        return _rows("feeds", backend.feeds())

    @api.post("/feeds/<name>/refresh")
    def refresh_feed(name: str) -> Response:
        _query()
        _body()
        backend.refresh_feed(inputs.checked_id(name))
        response = jsonify({"feed": name, "requested": True})
        response.status_code = 202
        return response

    @api.post("/feeds/<name>/accept")
    def accept_feed(name: str) -> Response:
        _query()
        _body()
        backend.accept_feed(inputs.checked_id(name), _who())
        return jsonify({"feed": name, "accepted": True})


def _add_flows(api: Blueprint, backend: Backend) -> None:
    free, one_at_a_time = threading.BoundedSemaphore(MAX_FLOW_QUERIES), threading.Lock()

    @api.get("/flows")
    def list_flows() -> Response:
        query = flowquery.parse(_query())
        if not free.acquire(blocking=False):
            raise Problem(503, "busy", "too many questions about flows at once; ask again", {"Retry-After": "1"})
        try:
            with one_at_a_time:
                answer = backend.flows(query)
        finally:
            free.release()
        return jsonify(views.flows(query, answer))


def _never_gone() -> bool:
    return False


def _add_events(api: Blueprint, backend: Backend, polls: LongPolls) -> None:
    @api.get("/events")
    def list_events() -> Response:
        query = _query()
        after = inputs.integer(query, "after", 0, 0, MAX_EVENT_ID)
        timeout_s = inputs.seconds(query, "timeout", 0.0, MAX_LONG_POLL_S)
        limit = inputs.integer(query, "limit", MAX_EVENTS_PER_POLL, 1, MAX_EVENTS_PER_POLL)
        gone = request.environ.get("waitress.client_disconnected", _never_gone)
        found = polls.wait(lambda seconds: backend.events(after, seconds), timeout_s, gone)
        return jsonify(views.events(found[:limit], after))
