# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One download against a server that misbehaves: never more than the limits, always a reason."""

import gzip
import io
import shutil
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sentinel.blacklist import guarded
from sentinel.blacklist.catalogue import Feed
from sentinel.blacklist.fetch import Fetched, HttpFetcher, RetryLaterError, Validators, retry_after_s, safe_url
from sentinel.errors import FeedError
from tests.support import feed_server as srv

NOTHING = Validators()
LIST = b"203.0.113.1\n203.0.113.2\n"


@pytest.fixture
def server() -> Iterator[srv.FeedServer]:
    with srv.FeedServer() as running:
        yield running


def fetcher(**limits: float) -> HttpFetcher:
    values: dict[str, float] = {"connect_timeout_s": 2, "read_timeout_s": 2, "total_timeout_s": 3, "max_bytes": 100_000}
    values |= {"max_wire_bytes": 100_000} | limits
    return HttpFetcher(**values)  # type: ignore[arg-type] # a float is an int where the limit is one


def feed(url: str, **more: object) -> Feed:
    return replace(Feed("listed", "plain", "g", url=url), **more)  # type: ignore[arg-type] # as the field says


def refused(url: str, **limits: float) -> FeedError:
    with pytest.raises(FeedError) as caught:
        fetcher(**limits).fetch(feed(url), NOTHING, 0.0)
    assert caught.value.feed == "listed"
    return caught.value


def test_a_body_comes_with_its_validators(server: srv.FeedServer) -> None:
    url = server.serve("/l", srv.body(LIST, 'ETag: "v1"', "Last-Modified: Mon, 01 Jun 2026 00:00:00 GMT"))
    fetched = fetcher().fetch(feed(url), NOTHING, 0.0)
    assert fetched == Fetched(LIST, Validators('"v1"', "Mon, 01 Jun 2026 00:00:00 GMT"))
    (request,) = server.requests
    assert "if-none-match" not in request.headers
    assert request.headers["user-agent"].startswith("Sentinel")


def test_validators_are_sent_and_304_is_none(server: srv.FeedServer) -> None:
    url = server.serve("/l", srv.conditional(LIST, '"v1"'))
    assert fetcher().fetch(feed(url), Validators('"v1"', "yesterday"), 0.0) is None
    assert server.requests[0].headers["if-modified-since"] == "yesterday"


def test_a_304_nobody_asked_for_is_refused(server: srv.FeedServer) -> None:
    assert refused(server.serve("/l", srv.status("304 Not Modified"))).reason == "http-3xx"


def test_an_equal_revision_saves_the_download(server: srv.FeedServer) -> None:
    url = server.serve("/l", srv.body(LIST))
    revision_url = server.serve("/rev", srv.body(b"4452\n"))
    described = feed(url, revision_url=revision_url)
    fetched = fetcher().fetch(described, Validators(revision="4451"), 0.0)
    assert fetched is not None
    assert fetched.validators.revision == "4452"
    assert fetcher().fetch(described, fetched.validators, 0.0) is None
    assert [request.path for request in server.requests] == ["/rev", "/l", "/rev"]


@pytest.mark.parametrize(
    "answer", [srv.status("404 Not Found"), srv.body(b"<html>"), srv.body(b"x" * 5000), srv.hang_up]
)
def test_a_broken_revision_costs_a_download_and_no_more(server: srv.FeedServer, answer: srv.Answer) -> None:
    url, revision_url = server.serve("/l", srv.body(LIST)), server.serve("/rev", answer)
    fetched = fetcher().fetch(feed(url, revision_url=revision_url), Validators(revision="1"), 0.0)
    assert fetched == Fetched(LIST, NOTHING)


def test_gzip_is_taken_off(server: srv.FeedServer) -> None:
    url = server.serve("/l", srv.body(gzip.compress(LIST), "Content-Encoding: gzip"))
    assert fetcher().fetch(feed(url), NOTHING, 0.0) == Fetched(LIST, NOTHING)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (srv.status("500 Internal Server Error"), "http-5xx"),
        (srv.status("403 Forbidden"), "http-4xx"),
        (srv.raw("206 Partial Content", ["Content-Length: 4"], b"1.2."), "http-2xx"),
        (srv.raw("999 Strange", []), "http-other"),
        (srv.hang_up, "connect"),
        (srv.raw("banana", []), "connect"),
        (srv.body(LIST, length=len(LIST) + 100), "truncated"),
        (srv.body(b"", length=10**9), "too-large"),
        (srv.endless, "too-large"),
        (srv.gzip_bomb(50_000_000), "too-large"),
        (srv.body(b"not gzip", "Content-Encoding: gzip"), "encoding"),
        (srv.body(gzip.compress(LIST)[:-6], "Content-Encoding: gzip"), "truncated"),
        (srv.body(LIST, "Content-Encoding: br"), "encoding"),
        (srv.raw("200 OK", ["Transfer-Encoding: chunked"], b"5\r\n1.2.3\r\n"), "truncated"),
        (srv.raw("200 OK", ["Transfer-Encoding: chunked"], b"zz\r\n1.2.3\r\n"), "truncated"),
        (srv.redirect("file:///etc/passwd"), "redirect"),
        (srv.redirect("ftp://127.0.0.1/list"), "redirect"),
        (srv.redirect("http://["), "redirect"),
        (srv.redirect("http://0.0.0.0:1/"), "connect"),
        (srv.redirect(""), "redirect"),
    ],
)
def test_what_is_no_whole_list_is_refused_with_its_reason(
    server: srv.FeedServer, answer: srv.Answer, reason: str
) -> None:
    assert refused(server.serve("/l", answer)).reason == reason


def test_a_gzip_bomb_never_unfolds_in_memory(server: srv.FeedServer) -> None:
    url = server.serve("/l", srv.gzip_bomb(50_000_000))
    tracemalloc.start()
    try:
        assert refused(url).reason == "too-large"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The limit here is 100 kB; sockets, TLS context and session are a few MB.
    assert peak < 10_000_000


def test_redirects_are_followed_and_bounded(server: srv.FeedServer) -> None:
    server.serve("/end", srv.body(LIST))
    url = server.serve("/l", srv.redirect("/end"))
    assert fetcher().fetch(feed(url), NOTHING, 0.0) == Fetched(LIST, NOTHING)
    assert refused(server.serve("/loop", srv.redirect("/loop"))).reason == "redirect"
    assert len(server.requests) == 2 + 6


def test_a_redirect_to_another_part_of_the_network_is_refused(
    server: srv.FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = server.serve("/inside", srv.body(LIST))
    url = server.serve("/l", srv.redirect(inside))
    zones = iter(["public", "loopback"])
    monkeypatch.setattr(guarded, "zone_of", lambda address: next(zones))
    error = refused(url)
    assert (error.reason, error.detail) == ("redirect", "redirect to the loopback address 127.0.0.1")
    assert [request.path for request in server.requests] == ["/l"]


def test_a_name_is_judged_by_the_address_it_leads_to(server: srv.FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    port = server.url("/").rsplit(":", 1)[1].rstrip("/")
    url = server.serve("/l", srv.redirect(f"http://localhost:{port}/inside"))
    real, calls = guarded.zone_of, []

    def first_is_public(address: str) -> guarded.Zone:
        calls.append(address)
        return "public" if len(calls) == 1 else real(address)

    monkeypatch.setattr(guarded, "zone_of", first_is_public)
    assert refused(url).reason == "redirect"


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("8.8.8.8", "public"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("0.0.0.0", "special"),
        ("224.0.0.1", "special"),
        ("255.255.255.255", "special"),
        ("2606:4700::1", "public"),
    ],
)
def test_zones(address: str, zone: str) -> None:
    assert guarded.zone_of(address) == zone


@pytest.mark.parametrize("answer", [srv.trickle(LIST * 100, 0.05), srv.silent])
def test_slowness_ends_at_the_total_time(server: srv.FeedServer, answer: srv.Answer) -> None:
    begun = time.monotonic()
    error = refused(server.serve("/l", answer), total_timeout_s=0.5, read_timeout_s=10)
    assert error.reason == "timeout"
    assert time.monotonic() - begun < 2


def test_silence_ends_at_the_read_timeout(server: srv.FeedServer) -> None:
    assert refused(server.serve("/l", srv.silent), read_timeout_s=0.2).reason == "timeout"


@pytest.mark.parametrize(("code", "wait"), [("429 Too Many Requests", 120), ("503 Service Unavailable", 120)])
def test_retry_after_is_passed_on(server: srv.FeedServer, code: str, wait: float) -> None:
    error = refused(server.serve("/l", srv.status(code, f"Retry-After: {wait}")))
    assert isinstance(error, RetryLaterError)
    assert (error.reason, error.retry_after_s) == ("retry-later", wait)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("9" * 400, 7 * 86_400),
        ("soon", 0),
        ("", 0),
        ("-5", 0),
    ],
)
def test_retry_after_in_both_forms(value: str, seconds: float) -> None:
    assert retry_after_s(value, 0.0) == seconds


def test_nobody_listens() -> None:
    with srv.FeedServer() as server:
        url = server.url("/l")
    assert refused(url).reason == "connect"


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@needs_openssl
def test_an_unknown_certificate_is_refused_and_a_named_one_taken(tmp_path: Path) -> None:
    both = srv.self_signed(tmp_path)
    with srv.FeedServer(tls=both) as server:
        url = server.serve("/l", srv.body(LIST))
        assert refused(url).reason == "tls"
        fetched = fetcher().fetch(feed(url, ca_file=tmp_path / "cert.pem"), NOTHING, 0.0)
    assert fetched == Fetched(LIST, NOTHING)


@needs_openssl
def test_a_slow_body_inside_tls_is_cut_off_too(tmp_path: Path) -> None:
    both = srv.self_signed(tmp_path)
    with srv.FeedServer(tls=both) as server:
        url = server.serve("/l", srv.trickle(LIST * 100, 0.05))
        with pytest.raises(FeedError) as caught:
            fetcher(total_timeout_s=0.5).fetch(feed(url, ca_file=tmp_path / "cert.pem"), NOTHING, 0.0)
    assert caught.value.reason == "timeout"


@needs_openssl
def test_a_token_goes_to_its_own_host_only_and_into_no_message(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret-of-ours\n")
    token.chmod(0o640)
    both = srv.self_signed(tmp_path)
    with srv.FeedServer(tls=both) as server, srv.FeedServer(tls=both) as other:
        other.serve("/l", srv.status("500 Oops"))
        url = server.serve("/l", srv.redirect(other.url("/l")))
        described = feed(url + "?key=s3cret-too", ca_file=tmp_path / "cert.pem", token_file=token)
        server.serve("/l?key=s3cret-too", srv.redirect(other.url("/l")))
        with pytest.raises(FeedError) as caught:
            fetcher().fetch(described, NOTHING, 0.0)
    assert server.requests[0].headers["authorization"] == "Bearer s3cret-of-ours"
    assert "authorization" not in other.requests[0].headers
    assert "s3cret" not in str(caught.value)


@needs_openssl
def test_headers_go_to_their_own_host_only_and_secret_ones_into_no_message(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret of ours\n")
    key.chmod(0o600)
    both = srv.self_signed(tmp_path)
    with srv.FeedServer(tls=both) as server, srv.FeedServer(tls=both) as other:
        other.serve("/l", srv.status("500 Oops"))
        described = feed(
            server.serve("/l", srv.redirect(other.url("/l"))),
            ca_file=tmp_path / "cert.pem",
            headers=(("Accept", "application/taxii+json;version=2.1"), ("X-Who", "me")),
            header_files=(("X-Api-Key", key),),
            revision_url=other.serve("/rev", srv.body(b"7")),
        )
        with pytest.raises(FeedError) as caught:
            fetcher().fetch(described, NOTHING, 0.0)
        key.write_text("s3cret\nof ours")
        with pytest.raises(FeedError) as two_lines:
            fetcher().fetch(described, NOTHING, 0.0)
        key.unlink()
        with pytest.raises(FeedError) as absent:
            fetcher().fetch(described, NOTHING, 0.0)
    (request,) = server.requests
    assert (request.headers["x-api-key"], request.headers["x-who"]) == ("s3cret of ours", "me")
    assert request.headers["accept"] == "application/taxii+json;version=2.1"
    for at_the_other in other.requests:
        assert not {"x-api-key", "x-who"} & at_the_other.headers.keys()
    assert (two_lines.value.reason, absent.value.reason) == ("header", "header")
    assert "s3cret" not in str(caught.value) + str(two_lines.value)


@needs_openssl
def test_a_client_certificate_opens_the_door_of_its_own_host(tmp_path: Path) -> None:
    both = srv.self_signed(tmp_path)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for secret in (both, key):
        secret.chmod(0o600)
    with srv.FeedServer(tls=both, client_ca=certificate) as server, srv.FeedServer(tls=both) as other:
        url = server.serve("/l", srv.body(LIST))
        described = feed(url, ca_file=certificate)
        with pytest.raises(FeedError):
            fetcher().fetch(described, NOTHING, 0.0)
        separate = replace(described, client_cert=certificate, client_key=key)
        assert fetcher().fetch(separate, NOTHING, 0.0) == Fetched(LIST, NOTHING)
        assert fetcher().fetch(replace(described, client_cert=both), NOTHING, 0.0) == Fetched(LIST, NOTHING)
        # Led there by another feed's host the certificate is not shown.
        elsewhere = replace(separate, url=other.serve("/l", srv.redirect(url)))
        with pytest.raises(FeedError):
            fetcher().fetch(elsewhere, NOTHING, 0.0)


@needs_openssl
def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    both = srv.self_signed(tmp_path)
    locked = tmp_path / "locked.pem"
    locked.touch(0o600)
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    with srv.FeedServer(tls=both) as server:
        described = feed(server.serve("/l", srv.body(LIST)), ca_file=tmp_path / "cert.pem", client_cert=both)
        for client_key, reason in ((tmp_path / "none", "client-cert"), (locked, "tls")):
            with pytest.raises(FeedError) as caught:
                fetcher().fetch(replace(described, client_key=client_key), NOTHING, 0.0)
            assert caught.value.reason == reason
        (tmp_path / "none").touch(0o600)
        (tmp_path / "none").write_text("hello")
        with pytest.raises(FeedError, match="is not PEM"):
            fetcher().fetch(replace(described, client_key=tmp_path / "none"), NOTHING, 0.0)


def test_secrets_that_others_can_read_are_named_and_not_used(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("-----BEGIN s3cret-of-ours")
    secret.chmod(0o644)
    described = feed("https://127.0.0.1:9/l")
    for refused, reason in (
        (replace(described, token_file=secret), "token"),
        (replace(described, header_files=(("X-Api-Key", secret),)), "header"),
        (replace(described, client_cert=secret), "client-cert"),
        (replace(described, client_cert=secret, client_key=secret), "client-cert"),
    ):
        with pytest.raises(FeedError, match=f"{secret} has mode 0644.*chmod 600") as caught:
            fetcher().fetch(refused, NOTHING, 0.0)
        assert caught.value.reason == reason
        assert "s3cret" not in str(caught.value).replace(str(secret), "")


@needs_openssl
def test_tls_goes_through_a_proxy_of_the_environment_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = srv.self_signed(tmp_path)
    with srv.FeedServer(tls=both) as server, srv.FeedServer() as proxy:
        url = server.serve("/l", srv.body(LIST))
        proxy.serve(url.removeprefix("https://").split("/")[0], srv.tunnel)
        monkeypatch.setenv("https_proxy", proxy.url("").rstrip("/"))
        monkeypatch.delenv("no_proxy", raising=False)
        described = feed(url, ca_file=tmp_path / "cert.pem", headers=(("X-Who", "me"),))
        assert fetcher().fetch(described, NOTHING, 0.0) == Fetched(LIST, NOTHING)
    assert server.requests[0].headers["x-who"] == "me"
    assert "x-who" not in proxy.requests[0].headers


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_a_packed_list_is_unpacked_from_server_and_file(server: srv.FeedServer, tmp_path: Path, kind: str) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("list.txt", LIST)
        archive.writestr("readme.txt", "hello")
    packed = gzip.compress(LIST) if kind == "gzip" else data.getvalue()
    described = feed(server.serve("/l", srv.body(packed)), member="list.txt")
    assert fetcher().fetch(described, NOTHING, 0.0) == Fetched(LIST, NOTHING)
    path = tmp_path / "own"
    path.write_bytes(packed)
    fetched = fetcher().fetch(replace(Feed.for_file(path), member="list.txt"), NOTHING, 0.0)
    assert fetched is not None
    assert fetched.body == LIST


@needs_openssl
def test_a_redirect_never_leaves_tls(tmp_path: Path) -> None:
    both = srv.self_signed(tmp_path)
    with srv.FeedServer(tls=both) as server, srv.FeedServer() as plain:
        url = server.serve("/l", srv.redirect(plain.url("/l")))
        with pytest.raises(FeedError) as caught:
            fetcher().fetch(feed(url, ca_file=tmp_path / "cert.pem"), NOTHING, 0.0)
    assert caught.value.reason == "redirect"
    assert plain.requests == []


def test_credentials_of_the_netrc_stay_at_home(
    server: srv.FeedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    fetcher().fetch(feed(server.serve("/l", srv.body(LIST))), NOTHING, 0.0)
    assert "authorization" not in server.requests[0].headers


def test_a_proxy_of_the_environment_is_used(server: srv.FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url("").rstrip("/"))
    monkeypatch.delenv("no_proxy", raising=False)
    server.serve("http://feeds.example/l", srv.body(LIST))
    server.serve("http://feeds.example/inside", srv.redirect("http://169.254.169.254/latest"))
    assert fetcher().fetch(feed("http://feeds.example/l"), NOTHING, 0.0) == Fetched(LIST, NOTHING)
    assert refused("http://feeds.example/inside").reason == "redirect"


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_bytes(LIST)
    own = Feed.for_file(path)
    first = fetcher().fetch(own, NOTHING, 0.0)
    assert first is not None
    assert fetcher().fetch(own, first.validators, 0.0) is None
    path.write_bytes(LIST + b"203.0.113.3\n")
    again = fetcher().fetch(own, first.validators, 0.0)
    assert again is not None
    with pytest.raises(FeedError, match="more than 5 bytes"):
        fetcher(max_bytes=5).fetch(own, NOTHING, 0.0)
    path.unlink()
    with pytest.raises(FeedError, match="No such file"):
        fetcher().fetch(own, NOTHING, 0.0)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://me:pass@feeds.example:8443/a?key=x#y", "https://feeds.example:8443/a?…"),
        ("https://feeds.example/a", "https://feeds.example/a"),
        ("http://[", "(a malformed URL)"),
    ],
)
def test_safe_url(url: str, safe: str) -> None:
    assert safe_url(url) == safe
