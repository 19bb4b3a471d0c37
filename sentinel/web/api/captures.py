# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``/api/v1/captures``: what is mirrored, its packets, and requests to start, approve, extend and end."""

from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Protocol, cast, get_args

from flask import Blueprint, Response, jsonify, request, url_for
from werkzeug.wsgi import wrap_file

from sentinel import filters
from sentinel.limits import MAX_CAPTURE_REQUEST_S, PCAP_CHUNK_BYTES
from sentinel.model import Capture, CaptureState, Ending
from sentinel.rows import NotHere, Pcap, ReceivedRow
from sentinel.web import inputs, views
from sentinel.web.answer import HttpError
from sentinel.web.api.routes import (
    PREFIX,
    body,
    client_gone,
    field_of,
    filtered,
    list_limit,
    listed,
    not_found,
    query,
    requester,
    understands,
)
from sentinel.web.pcap import Joined, PcapStreams

STATES: tuple[str, ...] = get_args(CaptureState)
KEYS: filters.Keys = {
    "state": filters.Choice(STATES),
    "local_ip": filters.Address(),
    "listed_ip": filters.Address(),
    "ip": filters.Address(("local_ip", "listed_ip")),
    "requested_by": filters.Text(),
    "ending": filters.Choice(get_args(Ending)),
    "switch": filters.Text(),
    "feed": filters.Text(),
    "group": filters.Text(),
    "prefix": filters.Address(),
}


class Source(Protocol):
    """Every method may be called from any thread and is quick."""

    def captures(self) -> Sequence[Capture]:
        """Return the live captures and those that ended last, in any order."""

    def capture(self, capture_id: str) -> Capture | None:
        """Return one capture, live or stored."""

    def rates_bps(self, capture_ids: Iterable[str]) -> Mapping[str, int]:
        """Return the bit/s that each mirror of these captures is believed to carry, as far as they are live."""

    def start_capture(self, local_ip: str, listed_ip: str, by: str, seconds: int | None) -> Capture:
        """Start a capture by hand; raises ``Refused``."""

    def approve(self, capture_id: str, by: str) -> Capture:
        """Approve a pending capture; raises ``NotFound``, ``Refused``."""

    def stop_capture(self, capture_id: str, by: str) -> Capture:
        """End a capture; raises ``NotFound``, ``Refused``."""

    def extend(self, capture_id: str, seconds: int, by: str) -> Capture:
        """Let a capture last ``seconds`` longer; raises ``NotFound``, ``Refused``."""


class Packets(Protocol):
    """The mirrored packets, as far as they are on this host."""

    def pcap(self, capture: Capture) -> Pcap | NotHere:
        """Return the files with a capture's packets; raises ``OSError`` if the disk fails."""

    def received(self, capture_id: str) -> ReceivedRow | None:
        """Return what was kept of a capture here; ``None`` if this host keeps none."""


def blueprint(source: Source, packets: Packets, streams: PcapStreams) -> Blueprint:
    """Return the routes."""
    api = Blueprint("captures", __name__, url_prefix=PREFIX)

    def shown(found: Sequence[Capture]) -> list[views.Json]:
        rates = source.rates_bps(each.id for each in found)
        return [views.capture(each, packets.received(each.id), rates.get(each.id)) for each in found]

    @api.get("/captures")
    @understands("filter", "state", "limit")
    def list_captures() -> Response:
        limit = list_limit()
        found = filtered(source.captures(), _field, KEYS, "state")
        # Live ones come first, so that a limit never hides a rule that stands on a switch.
        found.sort(key=lambda each: (each.state == "ended", -each.created_at))
        return listed("captures", shown(found[:limit]), len(found), limit)

    @api.get("/captures/<capture_id>")
    def one_capture(capture_id: str) -> Response:
        return jsonify(shown([_found(source, capture_id)])[0])

    def answer(capture: Capture, status: int = 200) -> Response:
        response = jsonify(shown([capture])[0])
        response.status_code = status
        return response

    @api.post("/captures")
    def start_capture() -> Response:
        given = body(frozenset({"local_ip", "listed_ip", "seconds"}))
        local_ip, listed_ip = inputs.address_pair(given)
        seconds = inputs.body_seconds(given, MAX_CAPTURE_REQUEST_S)
        capture = source.start_capture(local_ip, listed_ip, requester(), seconds)
        response = answer(capture, 201)
        response.headers["Location"] = url_for("captures.one_capture", capture_id=capture.id)
        return response

    @api.delete("/captures/<capture_id>")
    def stop_capture(capture_id: str) -> Response:
        body()
        return answer(source.stop_capture(inputs.checked_id(capture_id), requester()))

    @api.post("/captures/<capture_id>/approve")
    def approve_capture(capture_id: str) -> Response:
        body()
        return answer(source.approve(inputs.checked_id(capture_id), requester()))

    @api.post("/captures/<capture_id>/extend")
    def extend_capture(capture_id: str) -> Response:
        key = inputs.checked_id(capture_id)
        seconds = inputs.body_seconds(body(frozenset({"seconds"})), MAX_CAPTURE_REQUEST_S)
        if seconds is None:
            raise inputs.bad("seconds", "missing seconds")
        return answer(source.extend(key, seconds, requester()))

    _add_pcap(api, source, packets, streams)
    return api


def _field(capture: Capture, name: str) -> filters.Value:
    if name == "switch":
        return [mirror.switch for mirror in capture.mirrors]
    return field_of(capture, name)


def _found(source: Source, capture_id: str) -> Capture:
    found = source.capture(inputs.checked_id(capture_id))
    if found is None:
        raise not_found("capture")
    return found


def _add_pcap(api: Blueprint, source: Source, packets: Packets, streams: PcapStreams) -> None:
    @api.get("/captures/<capture_id>/pcap")
    @understands("follow")
    def capture_pcap(capture_id: str) -> Response:
        follow = inputs.choice(query(), "follow", ("0", "1")) == "1"

        def look() -> Pcap | NotHere:
            return packets.pcap(_found(source, capture_id))

        found = look()
        if isinstance(found, NotHere):
            raise HttpError(409, "not_here", found.where)
        if follow and found.more:
            # A request for the head alone must not take a place.
            head = request.method == "HEAD"
            return _pcapng(Response(() if head else streams.follow(look, client_gone())), capture_id)
        if not found.parts:
            raise HttpError(409, "not_here", found.missing)
        try:
            joined = Joined(found.parts)
        except OSError as error:
            raise HttpError(404, "not_found", "the file with the packets is gone") from error
        # A binary file to read from, which is all that wrap_file needs of it.
        chunks = wrap_file(request.environ, cast("IO[bytes]", joined), PCAP_CHUNK_BYTES)
        response = Response(chunks, direct_passthrough=True)
        response.content_length = joined.size
        return _pcapng(response, capture_id)


def _pcapng(response: Response, capture_id: str) -> Response:
    response.mimetype = "application/x-pcapng"
    name = f"{capture_id.replace(':', '_')}.pcapng"
    response.headers["Content-Disposition"] = f"attachment; filename={name}"
    return response
