# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Agent health: loss per stream, restarts, samples, bounds."""

import pytest

from sentinel import limits
from sentinel.model import Record
from sentinel.sflow import agents as module
from sentinel.sflow import datagram, encode
from sentinel.sflow.agents import AgentHealth, AgentTable

AGENT = "10.0.0.253"


def observed(*headers: tuple[int, int], sub_agent: int = 0) -> AgentHealth:
    """The health after datagrams of (sequence, uptime in ms)."""
    table = AgentTable()
    for number, (sequence, uptime_ms) in enumerate(headers):
        table.observe(AGENT, sub_agent, sequence, uptime_ms, float(number))
    (health,) = table.snapshot()
    return health


def flow(sequence: int, *, rate: int = 1000, drops: int = 0, source: int = 3) -> bytes:
    return encode.flow_sample(
        sequence=sequence,
        source_index=source,
        sampling_rate=rate,
        sample_pool=1,
        drops=drops,
        input=1,
        output=2,
        header=b"",
        frame_length=64,
    )


def noted(*datagrams: list[bytes]) -> AgentHealth:
    table = AgentTable()
    for number, samples in enumerate(datagrams, 1):
        table.note(datagram.decode(encode.datagram(AGENT, 0, number, number, samples)), "10.0.0.9", float(number))
    (health,) = table.snapshot()
    return health


def test_loss_reordering_and_duplicates() -> None:
    health = observed((1, 100), (4, 400), (3, 300), (3, 300), (5, 500))
    assert (health.datagrams, health.lost, health.late, health.duplicates, health.restarts) == (5, 1, 1, 1, 0)
    assert (health.first_seen, health.last_seen, health.uptime_ms) == (0.0, 4.0, 500)


def test_a_restart_shows_by_its_uptime_even_within_the_window() -> None:
    health = observed((10, 100_000), (11, 101_000), (1, 500), (2, 1500))
    assert (health.restarts, health.lost, health.duplicates, health.uptime_ms) == (1, 0, 0, 1500)


def test_a_restart_whose_numbers_go_on_shows_by_its_uptime() -> None:
    assert observed((10, 100_000), (11, 10)).restarts == 1


def test_a_restart_of_the_agent_alone_shows_by_its_numbers() -> None:
    health = observed((5000, 100_000), (1, 101_000), (2, 102_000))
    assert (health.restarts, health.lost) == (1, 0)


def test_uptime_that_wraps_is_no_restart() -> None:
    health = observed((10, 2**32 - 1000), (11, 500))
    assert (health.restarts, health.lost, health.uptime_ms) == (0, 0, 500)


def test_sub_agents_are_streams_of_their_own() -> None:
    table = AgentTable()
    for sequence in (1, 2, 3):
        table.observe(AGENT, 0, sequence, sequence, 0.0)
        table.observe(AGENT, 1, sequence + 1000, sequence, 0.0)
    assert [(each.sub_agent, each.lost, each.datagrams) for each in table.snapshot()] == [(0, 0, 3), (1, 0, 3)]


def test_samples_lost_and_dropped_per_data_source() -> None:
    health = noted(
        [flow(1, drops=100), flow(1, source=4, drops=7)],
        [flow(2, drops=103), flow(5, source=4, drops=7, rate=2000)],
        [flow(4, drops=103)],
    )
    assert (health.samples, health.samples_lost, health.drops) == (5, 4, 3)
    assert (health.sampling_rates, health.data_sources, health.sender) == ((1000, 2000), 2, "10.0.0.9")


def test_drops_wrap_and_begin_anew() -> None:
    assert noted([flow(1, drops=2**32 - 1)], [flow(2, drops=1)]).drops == 2
    assert noted([flow(1, drops=500)], [flow(2, drops=3)]).drops == 0


def test_what_could_not_be_used_is_counted() -> None:
    unknown_sample = encode._words(4300 << 12 | 1002, 0)
    bad = encode._words(1, 4, 9)
    unknown = encode.counters_sample(sequence=1, source_index=1, records=[Record("0:4000", "unknown")])
    broken = encode._words(2, 28, 1, 1, 1, 1005, 8, 99, 0)
    health = noted([unknown_sample, bad, unknown, broken])
    assert health.unknown_tags == {"sample 4300:1002": 1, "0:4000": 1}
    assert (health.samples, health.bad_samples, health.bad_records) == (2, 1, 1)


def test_octets_behind_the_samples_are_counted() -> None:
    table = AgentTable()
    table.note(datagram.decode(encode.datagram(AGENT, 0, 1, 1, []) + bytes(12)), "10.0.0.9", 0.0)
    assert table.snapshot()[0].trailing_octets == 12


def test_a_full_table_counts_what_finds_no_room_until_a_stream_falls_silent() -> None:
    table = AgentTable(max_streams=2)
    table.observe(AGENT, 0, 1, 1, 0.0)
    table.observe(AGENT, 1, 1, 1, 0.0)
    table.observe(AGENT, 0, 2, 2, limits.AGENT_FORGOTTEN_S - 1)
    table.observe(AGENT, 2, 1, 1, limits.AGENT_FORGOTTEN_S - 1)
    assert (table.overflow, [each.sub_agent for each in table.snapshot()]) == (1, [0, 1])
    table.observe(AGENT, 2, 2, 2, limits.AGENT_FORGOTTEN_S)
    assert (table.overflow, [each.sub_agent for each in table.snapshot()]) == (1, [0, 2])


def test_all_that_were_silent_for_long_make_room_at_once_and_what_they_held_is_free() -> None:
    table = AgentTable(max_streams=3)
    for sub_agent in range(3):
        table.note(datagram.decode(encode.datagram(AGENT, sub_agent, 1, 1, [flow(1)])), "10.0.0.9", float(sub_agent))
    table.observe(AGENT, 3, 1, 1, limits.AGENT_FORGOTTEN_S + 1)
    assert [each.sub_agent for each in table.snapshot()] == [2, 3]
    assert table._sources == 1


def test_data_sources_rates_and_tags_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DATA_SOURCES_PER_STREAM", 2)
    monkeypatch.setattr(module, "MAX_SAMPLING_RATES_KEPT", 2)
    monkeypatch.setattr(module, "MAX_UNKNOWN_TAGS_KEPT", 1)
    table = AgentTable()
    samples = [flow(1, source=number, rate=number) for number in range(1, 6)]
    samples += [encode._words(9 << 12 | number, 0) for number in range(1, 5)]
    table.note(datagram.decode(encode.datagram(AGENT, 0, 1, 1, samples)), "10.0.0.9", 0.0)
    (health,) = table.snapshot()
    assert (health.data_sources, table.sources_overflow, health.sampling_rates) == (2, 3, (1, 2))
    assert health.unknown_tags == {"sample 9:1": 1, "other": 3}


def test_data_sources_are_bounded_over_all_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DATA_SOURCES", 3)
    table = AgentTable()
    for sub_agent in range(3):
        samples = [flow(1, source=1), flow(1, source=2)]
        table.note(datagram.decode(encode.datagram(AGENT, sub_agent, 1, 1, samples)), "10.0.0.9", 0.0)
    assert ([each.data_sources for each in table.snapshot()], table.sources_overflow) == ([2, 1, 0], 3)


def test_samples_of_a_stream_that_found_no_room_are_not_kept() -> None:
    table = AgentTable(max_streams=1)
    table.observe("10.0.0.1", 0, 1, 1, 0.0)
    decoded = datagram.decode(encode.datagram(AGENT, 0, 1, 1, [flow(1)]))
    table.note(decoded, "10.0.0.9", 0.0)
    table.note_sample(AGENT, 0, decoded.samples[0])
    assert (table.overflow, [each.samples for each in table.snapshot()]) == (1, [0])
