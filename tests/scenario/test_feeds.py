# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Feeds in the whole daemon: what a delisting ends and what it does not, a refused download and who accepts it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from sentinel.blacklist.refresh import Refreshed
from sentinel.config.settings import load
from sentinel.daemon import Daemon
from sentinel.model import Indicator
from tests.support import feed_server as srv
from tests.support.running import HOST, LISTED, Agent, Sentinel, Shim, tcp_frame, until

LEAF = "127.0.1.1"
GOOD = "".join(f"{address}\n" for address in (LISTED, *(f"45.1.1.{n}" for n in range(20))))


class Place:
    """One switch and a daemon whose ``[feeds]`` a test may add to before it starts."""

    def __init__(self, directory: Path) -> None:
        self.shim = Shim("leaf1", LEAF, directory)
        self.sentinel = Sentinel(directory, [self.shim], quiet='"60s"', switch_lease='"6s"')
        self.agent = Agent(LEAF, self.sentinel.collector)

    def feeds(self, text: str) -> None:
        config = self.sentinel.config
        config.write_text(config.read_text().replace("[feeds]\n", f"[feeds]\n{text}\n"))

    def start(self) -> None:
        self.shim.start()
        self.sentinel.start()

    def close(self) -> None:
        self.sentinel.process.kill()
        self.shim.close()
        self.agent.close()

    def post(self, path: str) -> requests.Response:
        return requests.post(f"http://{self.sentinel.web}/api/v1/{path}", json={}, timeout=10)

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "sentinel", *words, "-c", str(self.sentinel.config)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)

    def feed(self, name: str) -> dict[str, object]:
        rows = {row["name"]: row for row in self.sentinel.get("feeds")["feeds"]}
        return dict(rows[name])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def feed_events(place: Place, name: str) -> list[dict[str, object]]:
    return [e["feed"] for e in place.sentinel.events() if e["event_type"] == "feed" and e["feed"]["name"] == name]


def test_a_capture_ends_when_the_last_feed_drops_the_address_and_not_before(place: Place, tmp_path: Path) -> None:
    directory = tmp_path / "descriptors"
    directory.mkdir()
    (directory / "second.toml").write_text(
        f'title = "Second"\nfile = "{tmp_path / "second.txt"}"\nformat = "plain"\ngroup = "scan"\n'
        'licence = "internal"\nreserved_is_legal = true\nempty_is_legal = true\n'
    )
    (tmp_path / "second.txt").write_text(f"{LISTED}\n")
    place.feeds(f'directory = "{directory}"\nenabled = ["second"]')
    # The documentation prefix is taken seriously in lists of one's own.
    place.start()
    place.agent.send(tcp_frame())
    [capture] = until(lambda: place.sentinel.captures("active"))
    assert {(i["feed"], i["group"]) for i in capture["indicators"]} == {("bad", "c2"), ("second", "scan")}
    assert [(place.feed(n)["detections_total"], place.feed(n)["captures_total"]) for n in ("bad", "second")] == [
        (1, 1)
    ] * 2

    place.sentinel.list.write_text("203.0.113.0/24\n")
    assert place.post("feeds/bad/refresh").status_code == 202
    [detection] = until(
        lambda: [d for d in place.sentinel.detections() if len(d["indicators"]) == 1], what="one feed lists it still"
    )
    assert detection["indicators"] == [{"prefix": f"{LISTED}/32", "feed": "second", "group": "scan"}]
    time.sleep(1.5)
    assert [c["id"] for c in place.sentinel.captures("active")] == [capture["id"]]
    assert place.shim.rules()
    event = feed_events(place, "bad")[-1]
    assert (event["added"], event["removed"], event["changed"]) == (0, 1, 0)
    assert event["first"] == {"removed": [{"prefix": f"{LISTED}/32", "group": "c2"}]}

    (tmp_path / "second.txt").write_text("")
    assert place.post("feeds/second/refresh").status_code == 202
    [ended] = until(lambda: place.sentinel.captures("ended"), what="nobody lists it any more")
    assert (ended["id"], ended["note"]) == (capture["id"], "delisted")
    until(lambda: not place.shim.rules(), what="the rule is gone")
    assert place.command("lookup", LISTED).stdout.startswith(f"{LISTED}: not listed")


def test_a_refused_download_is_shown_everywhere_and_accepted_by_hand(place: Place, tmp_path: Path) -> None:
    directory = tmp_path / "descriptors"
    directory.mkdir()
    with srv.FeedServer() as server:
        url = server.serve("/l", srv.body(GOOD.encode()))
        (directory / "remote.toml").write_text(
            f'title = "Remote"\nurl = "{url}"\nformat = "plain"\nlicence = "CC0-1.0"\nmin_interval = "1s"\n'
            "reserved_is_legal = true\n"
        )
        place.feeds(f'directory = "{directory}"\nenabled = ["remote"]')
        place.start()
        until(lambda: place.feed("remote")["entries"] == 21, what="the first download")
        assert place.post("feeds/remote/accept").json()["detail"] == "nothing is in quarantine"
        server.serve("/l", srv.body(b"45.1.1.1\n"))
        time.sleep(1.3)
        refused = place.post("feeds/remote/refresh")
        assert (refused.status_code, "less than half" in refused.text) == (409, True)

        row = place.feed("remote")
        assert (row["state"], row["entries"], "less than half" in str(row["detail"])) == ("quarantined", 21, True)
        text = requests.get(f"http://{place.sentinel.web}/metrics", timeout=5).text
        assert 'sentinel_blacklist_feed_state{feed="remote",state="quarantined"} 1.0' in text
        assert 'sentinel_blacklist_feed_trouble{feed="remote",reason="shrunk"} 1.0' in text
        assert 'sentinel_blacklist_feed_entries{family="ipv4",feed="remote"} 21.0' in text
        assert any(
            problem["subject"] == "remote"
            for problem in requests.get(f"http://{place.sentinel.web}/healthz").json()["problems"]
        )
        listed = place.command("feeds", "list")
        assert (listed.returncode, "quarantined" in listed.stdout) == (1, True)
        assert "CC0-1.0" in place.command("feeds", "list", "--score").stdout
        shown = place.command("feeds", "show", "remote").stdout
        assert "what is wrong: 1 entries, less than half of the last 21" in shown
        assert "0 open, 0 since the daemon's start, 0 captured" in shown

        # Without a daemon the same is known from the disk.
        place.sentinel.process.stop()
        asleep = place.command("feeds", "list")
        assert (asleep.returncode, "quarantined" in asleep.stdout) == (1, True)
        assert "no daemon is running" in place.command("feeds", "show", "remote").stdout
        place.sentinel.start()

        accepted = place.command("feeds", "accept", "remote")
        assert (accepted.returncode, accepted.stdout) == (0, "remote: accepted by the daemon\n")
        row = place.feed("remote")
        assert (row["state"], row["entries"], row["detail"]) == ("ok", 1, "")
        event = feed_events(place, "remote")[-1]
        assert (event["reason"], event["detail"], event["removed"]) == ("accepted", "accepted by loopback", 20)
        again = place.command("feeds", "accept", "remote")
        assert (again.returncode, "nothing is in quarantine" in again.stderr) == (1, True)
        assert place.command("feeds", "accept", "nobody").returncode == 2


def test_the_whole_difference_is_handed_to_who_asks_for_it(place: Place) -> None:
    daemon = Daemon(load(place.sentinel.config))
    seen: list[Refreshed] = []
    daemon.feeds.on_difference.append(lambda outcome: 1 / 0)  # type: ignore[arg-type]  # a listener's bug
    daemon.feeds.on_difference.append(seen.append)
    daemon.feeds.start()
    place.sentinel.list.write_text("".join(f"45.1.{n >> 8}.{n & 255}\n" for n in range(1000)))
    daemon.feeds.refresh_feed("bad")
    [outcome] = seen
    assert (outcome.feed, len(outcome.difference.added)) == ("bad", 1000)
    assert set(outcome.difference.removed) == {
        Indicator(f"{LISTED}/32", "bad", "c2"),
        Indicator("203.0.113.0/24", "bad", "c2"),
    }
    event = [each["feed"] for each in daemon.report.events(0, 0) if each["event_type"] == "feed"][-1]
    assert isinstance(event, dict)
    assert (event["added"], len(event["first"]["added"])) == (1000, 50)
    daemon.feeds.refresh_feed("bad")
    assert len(seen) == 1


def test_a_feed_that_lists_one_of_ours_is_an_event_of_its_own(place: Place) -> None:
    place.sentinel.list.write_text(f"{HOST}\n{LISTED}\n")
    place.start()
    [event] = until(lambda: feed_events(place, "bad"))
    assert event["local_listed"] == [f"{HOST}/32"]
    assert place.command("lookup", HOST).stdout.splitlines()[1].endswith("line 1 is not in force: local")
