# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The copies on disk: whole or not at all, and never believed when they are damaged."""

from dataclasses import replace
from pathlib import Path

import pytest

from sentinel.blacklist.cache import FeedCache, FeedState, digest

STATE = FeedState(url="https://x/", etag='"v1"', entries=1, fetched_at=5.0, checked_at=6.0, next_due_at=7.5, failures=2)


def kept(folder: Path, body: bytes, name: str = "f") -> tuple[FeedCache, FeedState]:
    cache = FeedCache(folder)
    state = replace(STATE, sha256=digest(body))
    cache.save_body(name, state, body)
    return cache, state


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    cache, state = kept(tmp_path / "deep" / "er", b"1.1.1.1\n")
    assert cache.load("f") == (state, b"1.1.1.1\n", "")


def test_nothing_was_saved(tmp_path: Path) -> None:
    assert FeedCache(tmp_path).load("f") == (FeedState(), None, "")


def test_only_the_newest_body_stays_and_other_feeds_are_left_alone(tmp_path: Path) -> None:
    kept(tmp_path, b"other", name="f.g")
    kept(tmp_path, b"old")
    cache, state = kept(tmp_path, b"new")
    assert cache.load("f") == (state, b"new", "")
    assert cache.load("f.g")[1] == b"other"
    assert len(list(tmp_path.iterdir())) == 4


def test_a_crash_between_body_and_sidecar_leaves_the_old_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, state = kept(tmp_path, b"old")
    monkeypatch.setattr(cache, "save_state", lambda name, state: (_ for _ in ()).throw(OSError("power")))
    with pytest.raises(OSError, match="power"):
        cache.save_body("f", replace(STATE, sha256=digest(b"new")), b"new")
    assert FeedCache(tmp_path).load("f") == (state, b"old", "")


def test_a_failed_write_leaves_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, state = kept(tmp_path, b"old")
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        cache.save_body("f", replace(STATE, sha256=digest(b"new")), b"new")
    assert len(list(tmp_path.iterdir())) == 2
    assert cache.load("f") == (state, b"old", "")


def test_a_damaged_body_is_not_used_and_its_validators_are_forgotten(tmp_path: Path) -> None:
    cache, _ = kept(tmp_path, b"1.1.1.1\n")
    (body,) = tmp_path.glob("*.list")
    body.write_bytes(b"1.1.1.2\n")
    state, found, damage = cache.load("f")
    assert (state, found) == (FeedState(url="https://x/"), None)
    assert "digest differs" in damage
    body.unlink()
    assert "cannot be read" in cache.load("f")[2]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", '{"etag": 5}', '{"entries": "1"}', '{"failures": true}', '{"sha256": "../../etc/passwd"}'),
        '{"fetched_at": "x"}',
        "[" * 30_000,
        '{"url": "' + "x" * 70_000 + '"}',
    ],
)
def test_a_damaged_sidecar_is_no_copy(tmp_path: Path, text: str) -> None:
    cache, _ = kept(tmp_path, b"1.1.1.1\n")
    (tmp_path / "f.json").write_text(text)
    state, body, damage = cache.load("f")
    assert (state, body) == (FeedState(), None)
    assert "damaged" in damage


def test_quarantine(tmp_path: Path) -> None:
    cache = FeedCache(tmp_path / "new")
    assert cache.quarantined("f") is None
    cache.save_quarantined("f", b"<html>")
    assert cache.quarantined("f") == b"<html>"
    cache.drop_quarantined("f")
    assert cache.quarantined("f") is None
