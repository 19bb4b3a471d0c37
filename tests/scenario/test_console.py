# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The console in a real browser: what an analyst sees and does, and what hostile data cannot do."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sentinel.flowmodel import FlowSums
from sentinel.model import Indicator
from sentinel.problems import Problem
from sentinel.report import eve
from sentinel.report.eventlog import EventRing
from tests.support import chromium
from tests.support.chromium import Page
from tests.support.flows import flow_count, flow_second
from tests.support.web import TOKEN, FakeBackend, capture, detection, observer, serving, tokens

pytestmark = pytest.mark.skipif(chromium.found() is None, reason="no chromium here")

HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=2</script>javascript:window.pwned=3'
REVERSED = "safe\u202egnp.exe\u0000\u200b"
LONG = "A" * 10_000


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    tab.complaints.clear()
    tab.dialogs.clear()
    yield tab
    # The page of a server that is gone would complain into the next test.
    tab.open("data:text/html,")


def text(page: Page, selector: str) -> str:
    return str(page.evaluate(f"document.querySelector({selector!r})?.innerText ?? ''"))


def live() -> FakeBackend:
    backend, now = FakeBackend(), time.time()
    backend.found = [detection(first_seen=now - 300, last_seen=now - 3)]
    backend.kept = {"c1": capture(created_at=now - 290, evidence_at=now - 3, ends_at=now + 3300)}
    return backend


def test_it_shows_who_talks_with_whom_and_what_is_done_about_it(page: Page) -> None:
    backend = live()
    backend.found.append(detection("d2", local_ip="10.7.7.7", observers=(observer(capturable=False, vni=5010),)))
    with serving(backend) as server:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.until("document.querySelectorAll('#detections tbody tr').length === 2")
        shown = text(page, "#detections")
        for each in (
            "10.1.0.5",
            "203.0.113.7",
            "initiated",
            "et-compromised",
            "Spamhaus DROP",
            "leaf1",
            "12,000 ±57 %",
        ):
            assert each in shown
        assert "not capturable: only inside vni 5010" in shown
        assert "9 min 5" in text(page, "#captures")
        page.evaluate("document.querySelector('#captures summary').click()")
        assert backend.kept["c1"].mirrors[0].lines[0] in text(page, "#captures pre")
        assert "BSD-3-Clause" in text(page, "#feeds")
        assert "0.99 %" in text(page, "#agents")
        assert "automatic" in text(page, "header")
    assert page.complaints == []


def test_a_capture_is_stopped_after_a_question_and_a_refusal_is_told(page: Page) -> None:
    backend = live()
    with serving(backend) as server:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.until("document.querySelector('[data-action=stop]')")
        page.evaluate("setTimeout(() => document.querySelector('[data-action=stop]').click())")
        page.until("document.querySelector('#captures tbody').innerText.includes('removing')")
        assert "Stop mirroring 10.1.0.5 with 203.0.113.7?" in page.dialogs[0]
        assert backend.kept["c1"].note == "stopped by loopback"
        page.evaluate("document.querySelector('[data-action=pcap]').click()")
        page.until("document.querySelector('#notice').innerText.includes('10.0.0.70, which is not this host')")


def test_a_capture_is_started_by_hand_approved_and_extended(page: Page) -> None:
    backend = live()
    backend.kept = {"c1": capture(state="pending", mirrors=(), ends_at=time.time() + 3000)}
    with serving(backend) as server:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.until("document.querySelector('[data-action=approve]')")
        page.evaluate("document.querySelector('[data-action=approve]').click()")
        page.until("document.querySelector('#captures tbody').innerText.includes('installing')")
        ends = backend.kept["c1"].ends_at
        page.evaluate("document.querySelector('[data-action=extend]').click()")
        page.until("document.querySelector('#captures tbody').innerText.includes('extended by')")
        assert backend.kept["c1"].ends_at == ends + 3600
        page.evaluate(
            "(form => { form.local_ip.value = '10.1.0.5'; form.listed_ip.value = '192.0.2.9'; form.minutes.value = '5';"
            " form.requestSubmit(); })(document.querySelector('#start'))"
        )
        page.until("document.querySelector('#notice').innerText.includes('not listed')")


def test_a_feed_shows_its_worth_and_a_refused_download_is_accepted_after_a_question(page: Page) -> None:
    backend = live()
    with serving(backend) as server:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.until("document.querySelector('[data-action=accept]')")
        shown = text(page, "#feeds")
        for each in ("90 %", "9.6 % in et-block", "2 IPv6", "7 since start", "3 captured", "over 10 times"):
            assert each in shown
        page.evaluate("setTimeout(() => document.querySelector('[data-action=accept]').click())")
        page.until("!document.querySelector('[data-action=accept]')")
        assert backend.accepted == [("et-block", "loopback")]
        assert "It was refused: 40000 lines" in page.dialogs[0]


def test_an_event_refreshes_the_page_at_once_and_an_open_fold_stays_open(page: Page) -> None:
    backend = live()
    with serving(backend) as server:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.until("document.querySelector('#captures tbody tr')")
        backend.ring.append(eve.alert(backend.found[0], state="open"))
        page.until("document.querySelector('#stream li')")
        backend.ring.append(
            {
                "event_type": "feed",
                "feed": {"name": "et", "outcome": "changed", "added": 3, "removed": 1, "local_listed": ["10.1.0.0/24"]},
            }
        )
        page.until("document.querySelector('#stream').innerText.includes('lists addresses of ours: 10.1.0.0/24')")
        page.evaluate(
            "document.querySelector('#captures summary').click(); document.querySelector('#captures summary').focus()"
        )
        backend.kept["c2"] = capture("c2", local_ip="10.8.8.8")
        backend.kept["c1"] = capture(note="changed", ends_at=time.time() + 900)
        backend.ring.append(eve.capture_event(backend.kept["c2"], "installing"))
        page.until("document.querySelector('#captures tbody').innerText.includes('10.8.8.8')", 3.0)
        page.until("document.querySelector('#captures tbody').innerText.includes('changed')", 3.0)
        changed = "[...document.querySelectorAll('#captures tr')].find(row => row.innerText.includes('changed'))"
        assert page.evaluate(f"{changed}.querySelector('details').open")
        assert page.evaluate(f"{changed}.contains(document.activeElement)")
        assert "10.8.8.8" in text(page, "#stream li")


def test_with_tokens_it_asks_for_one_and_keeps_it_in_the_tab(page: Page) -> None:
    with serving(live(), tokens()) as server:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.until("!document.querySelector('#login').hidden && document.querySelector('#main').hidden")
        assert "10.1.0.5" not in text(page, "body")
        submit = "document.querySelector('#token').value = {!r}; document.querySelector('#login').requestSubmit()"
        page.evaluate(submit.format("wrong"))
        page.until("document.querySelector('#notice').innerText.includes('not known')")
        page.evaluate(submit.format(TOKEN))
        page.until("document.querySelector('#detections tbody tr') && document.querySelector('#login').hidden")
        assert page.evaluate("sessionStorage.length") == 1
        assert page.evaluate("localStorage.length + document.cookie.length") == 0
        page.evaluate("document.querySelector('#forget').click()")
        page.until("document.readyState === 'complete' && document.querySelector('#login')?.hidden === false")


def ask(page: Page, filter_: str, *group: str) -> None:
    page.evaluate(
        f"(form => {{ form.filter.value = {filter_!r}; for (const each of form.group) each.checked = "
        f"{list(group)!r}.includes(each.value); form.requestSubmit(); }})(document.querySelector('#flows form'))"
    )


def test_flows_are_grouped_and_filtered_as_asked_and_drawn(page: Page) -> None:
    backend = live()
    web = flow_count(bytes=1_000_000, samples=9)
    further = flow_count(agent="10.0.0.253", bytes=1_000_000)
    dns = flow_count(dst_ip="192.0.2.53", dst_port=53, protocol=17, bytes=500_000)
    backend.flow_seconds = [
        flow_second(web, dns),
        flow_second(web, web, further, unnamed=FlowSums(5, 500_000, 5), evicted_samples=7),
    ]
    with serving(backend) as server:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.evaluate("document.querySelector('#flows').scrollIntoView()")
        page.until("document.querySelectorAll('#flows tbody tr').length === 2")
        shown = text(page, "#flows")
        for each in (
            "203.0.113.9",
            "192.0.2.53",
            "12.0 Mbit/s",
            "seen by 2 agents",
            "±38 %",
            "peak 16.0 Mbit/s at 12:00:01",
        ):
            assert each in shown, each
        assert "20 % of all sampled bytes are of further agents on its way and are not counted again" in shown
        assert "10 % of all sampled bytes are in flows too small to be named" in shown
        assert "not counted: 7" in shown
        # As every agent counted it, so it is drawn only beside others that are.
        assert page.evaluate("document.querySelector('#flows .line-unnamed') === null")
        assert page.evaluate("document.querySelectorAll('#flows svg path').length") == 3
        assert page.evaluate("document.querySelector('#flows svg path').getBoundingClientRect().height") > 50

        ask(page, "", "agent")
        page.until("document.querySelector('#flows svg .line-unnamed')")
        shown = text(page, "#flows")
        assert "peak 28.0 Mbit/s" in shown
        assert "Every agent counts what passes it" in shown
        assert "further agents" not in shown

        ask(page, "dst_port=53 protocol=udp", "agent", "dst_port")
        page.until("document.querySelector('#flows thead').innerText.includes('dst_port')")
        page.until("document.querySelectorAll('#flows tbody tr').length === 1")
        assert "10 % of all sampled bytes pass" in text(page, "#flows")
        # What no filter sees is not drawn beside what passed.
        assert page.evaluate("document.querySelector('#flows .line-unnamed') === null")
        assert backend.flow_queries[-1].group == ("agent", "dst_port")

        assert page.complaints == []
        for wrong, words in (("dst=192.0.2.1", "did you mean dst_ip?"), ("192.0.2.1", "is no key=value")):
            ask(page, wrong, "dst_ip")
            page.until(f"document.querySelector('#flows .problem').innerText.includes({words!r})")
        ask(page, "", "dst_ip")
        page.until("document.querySelector('#flows .problem').hidden")


def test_flows_out_of_sight_are_not_asked_for(page: Page) -> None:
    backend = live()
    backend.found = [detection(f"d{n}", local_ip=f"10.1.0.{n}") for n in range(40)]
    with serving(backend) as server:
        page.open(f"http://127.0.0.1:{server.port}/", height=600)
        page.until("document.querySelectorAll('#detections tbody tr').length === 40")
        backend.ring.append(eve.alert(backend.found[0], state="open"))
        page.until("document.querySelector('#stream li')")
        assert backend.flow_queries == []
        page.evaluate("document.querySelector('#flows').scrollIntoView()")
        page.until("document.querySelector('#flows .count').innerText.includes('0 groups')")
        assert len(backend.flow_queries) == 1


def test_hostile_data_stays_data(page: Page) -> None:
    backend = live()
    bad = HOSTILE + REVERSED + LONG
    backend.found = [
        detection(indicators=(Indicator("203.0.113.7/32", "et", bad), Indicator("203.0.113.0/24", REVERSED, HOSTILE)))
    ]
    backend.notes = {"d1": bad}
    backend.kept = {"c1": capture(reason=bad, note=bad, requested_by=HOSTILE, state="ended")}
    # The page must bear anything in any field, whatever the types here say.
    hostile: dict[str, Any] = {"agent": HOSTILE, "switch": bad, "datagrams": HOSTILE, "samples": 1}
    hostile["sampling_rate"] = HOSTILE
    backend.agent_rows = [replace(row, **hostile) for row in backend.agent_rows]
    hostile = {"name": HOSTILE, "state": bad, "entries": HOSTILE, "url": "javascript:window.pwned=4"}
    hostile["rejected"] = HOSTILE
    backend.feed_rows = [replace(backend.feed_rows[0], **hostile)]
    hostile = {"name": bad, "role": HOSTILE, "state": HOSTILE, "agents": (HOSTILE,), "rules": HOSTILE}
    backend.switch_rows = [replace(row, **hostile, url="javascript:window.pwned=5") for row in backend.switch_rows]
    problem = Problem(HOSTILE, "degraded", bad, bad, HOSTILE)
    hostile = {"mode": HOSTILE, "erspan_destination": REVERSED}
    backend.state = replace(backend.state, status="degraded", problems=(problem,), **hostile)
    backend.flow_seconds = [flow_second(flow_count(), flow_count(src_ip="10.0.0.6"))]
    backend.flow_keys = bad, HOSTILE, REVERSED
    backend.ring.append({"event_type": HOSTILE, "timestamp": bad, "alert": {"signature": bad}})
    backend.ring.append(
        {"event_type": "capture", "capture": {"state": HOSTILE, "local_ip": bad, "listed_ip": REVERSED, "note": bad}}
    )
    with serving(backend) as server:
        page.open(f"http://127.0.0.1:{server.port}/", width=800)
        page.until(
            "document.querySelectorAll('#stream li').length === 2 && document.querySelector('#switches tbody tr')"
        )
        page.evaluate("document.querySelector('#flows').scrollIntoView()")
        page.until("document.querySelectorAll('#flows tbody tr').length === 2")
        ask(page, HOSTILE, "src_ip", "dst_ip", "protocol")
        page.until("!document.querySelector('#flows .problem').hidden")
        time.sleep(0.3)
        assert page.evaluate("window.pwned === undefined")
        assert page.evaluate("document.querySelectorAll('main img, main script, main a, main iframe').length") == 0
        assert "<img src=x onerror=" in text(page, "#detections")
        assert "safe⟨U+202E⟩gnp.exe⟨U+0000⟩⟨U+200B⟩" in text(page, "#detections")
        assert "\u202e" not in text(page, "body")
        assert "characters)" in text(page, "#problems")
        assert page.evaluate("document.body.innerText.length") < 20_000
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
    assert page.complaints == []


def test_injected_script_would_be_stopped_by_the_policy(page: Page) -> None:
    with serving(live()) as server:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.until("document.querySelector('#detections tbody tr')")
        for attempt in (
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.pwned = 1'}))",
            "document.body.innerHTML = '<img src=x onerror=\"window.pwned=2\">'",
            "document.body.setAttribute('onclick', 'window.pwned = 3'); document.body.click()",
        ):
            try:
                page.evaluate(attempt)
            except RuntimeError as error:
                assert "Trusted" in str(error)
        time.sleep(0.2)
        assert page.evaluate("window.pwned === undefined")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (800, "light"), (360, "dark")])
def test_nothing_needs_scrolling_sideways_and_everything_can_be_read(page: Page, width: int, scheme: str) -> None:
    backend = live()
    backend.found.append(
        detection(
            "d2", local_ip="fd00:1234:5678:9abc:def0:1234:5678:9abc", listed_ip="2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"
        )
    )
    long = {"src_ip": "fd00:1234:5678:9abc:def0:1234:5678:9abc", "dst_ip": "2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"}
    backend.flow_seconds = [flow_second(flow_count(**long, agent="2001:db8:ffff:ffff:ffff:ffff:ffff:fffd"))]
    with serving(backend) as server:
        page.open(f"http://127.0.0.1:{server.port}/", width=width, scheme=scheme)
        page.until("document.querySelectorAll('#detections tbody tr').length === 2")
        page.evaluate("document.querySelector('#flows').scrollIntoView()")
        ask(page, "", "agent", "input", "output", "src_ip", "dst_ip", "protocol", "src_port", "dst_port", "vni")
        page.until("document.querySelectorAll('#flows tbody th, #flows tbody td').length === 14")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground, ink = page.evaluate("(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))")
        bright = [
            sum(int(part) for part in each.removeprefix("rgb(").removesuffix(")").split(",")) for each in (ground, ink)
        ]
        assert (bright[0] > bright[1]) == (scheme == "light")


def test_each_empty_table_says_what_to_do(page: Page) -> None:
    backend = FakeBackend()
    backend.found, backend.kept, backend.ring = [], {}, EventRing(10)
    backend.agent_rows, backend.feed_rows, backend.switch_rows = [], [], []
    with serving(backend) as server:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.until("document.querySelector('#health').innerText === 'ok'")
        page.evaluate("document.querySelector('#flows').scrollIntoView()")
        page.until("document.querySelector('#flows .empty')")
        assert (
            page.evaluate(
                "[...document.querySelectorAll('main section .empty')].filter(each => each.offsetHeight > 0).length"
            )
            == 7
        )
        assert "6343" in text(page, "#agents")


def test_a_daemon_that_goes_away_is_shown_as_such(page: Page) -> None:
    with serving(live()) as server:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.until("document.querySelector('#detections tbody tr')")
    page.until("document.querySelector('#health').innerText === 'daemon not reached'", 8.0)
