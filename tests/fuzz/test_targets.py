# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets themselves: they swallow their seeds and damaged copies of them, and what they find is kept."""

import importlib
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main, seeded
from tests.fuzz.growth import Growth
from tests.fuzz.shapes import cut_everywhere, shape_of
from tests.fuzz.targets import COVERED, rules
from tests.support.twins import native
from tests.unit.scan.test_twins import DATAGRAMS

_COMPILED = ("twins", "tables", "keepers")


def test_every_target_is_listed() -> None:
    files = Path(__file__).with_name("targets").glob("[a-z]*.py")
    assert {file.stem for file in files} == set(COVERED)
    script = Path(__file__).with_name("run.sh").read_text()
    assert f'compiled="{" ".join(_COMPILED)}"' in script
    assert f'others="{" ".join(name for name in COVERED if name not in _COMPILED)}"' in script


@pytest.mark.parametrize("name", COVERED)
def test_every_target_swallows_its_seeds_and_damaged_ones(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in _COMPILED:
        native()
    seeds = importlib.import_module(f"tests.fuzz.targets.{name}").seeds()
    seeded(name, 60, 1, tmp_path, runs=min(len(seeds), 500) + 200)
    assert "no finding" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_found_is_kept_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(data: bytes) -> None:
        assert b"198" not in data[100:], "planted"

    monkeypatch.setattr(rules, "one", one)
    with pytest.raises(AssertionError, match="planted"):
        main(["rules", "--seeded", "--seconds", "60", "--findings", str(tmp_path)])
    [file] = tmp_path.iterdir()
    with pytest.raises(AssertionError, match="planted"):
        main(["rules", str(file)])
    monkeypatch.undo()
    main(["rules", str(file)])


def test_growth_is_found() -> None:
    growth, held = Growth(warm_up_inputs=1, max_growth_kb=30_000), []
    growth.check()
    growth.check()

    def grow() -> None:
        # Other tests may have left the highest memory ever used far above what is used now.
        for _ in range(100):
            held.append(b"x" * 40_000_000)
            growth.check()

    with pytest.raises(AssertionError, match="grown by"):
        grow()


def test_shapes_give_back_what_they_were_made_of() -> None:
    whole = [shape_of(each) for each in DATAGRAMS]
    same = sum(shape is not None and shape.octets() == octets for shape, octets in zip(whole, DATAGRAMS, strict=True))
    assert same > len(DATAGRAMS) * 2 / 3


def test_records_are_cut_at_every_octet_and_lengths_are_true() -> None:
    whole, cut = (_records(octets) for octets in (DATAGRAMS[:1], cut_everywhere(DATAGRAMS[:1])))
    [header] = whole
    assert [len(body) for body in cut] == list(range(16, len(header)))
    assert all(body[:12] == header[:12] and body[16:] == header[16 : len(body)] for body in cut)
    assert [int.from_bytes(body[12:16]) for body in cut] == list(range(len(header) - 16))
    others = {len(body) for body in _records(cut_everywhere(DATAGRAMS)) if len(body) < 16}
    assert others == set(range(16))


def _records(datagrams: list[bytes]) -> list[bytes]:
    """The bodies in these."""
    shapes = [shape for shape in map(shape_of, datagrams) if shape is not None]
    return [body for shape in shapes for sample in shape.samples for _, body in sample.records or ()]
