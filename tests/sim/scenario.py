# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""One kind of virtual day, read from TOML. Unknown keys are errors; the file names are the scenarios' names."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Fabric:
    """``own_limit``: entries the switches really take, foreign ones included; ``sampling``: one packet in so many."""

    leaves: int = 8
    spines: int = 2
    borders: int = 2
    hosts: int = 200
    mlag_share: float = 0.2
    overlay: bool = False
    sampling: int = 600
    max_rules: int = 40
    own_limit: int = 60
    outside_inventory: int = 1
    ipv6_share: float = 0.05


@dataclass(frozen=True, slots=True)
class Capture:
    """The daemon's policy; durations in seconds."""

    mode: str = "automatic"
    quiet_s: float = 600.0
    longest_s: float = 3600.0
    lease_s: float = 120.0
    max_new_per_minute: int = 30
    flood_bps: int = 500_000_000
    max_bps_per_switch: int = 1_000_000_000
    max_bps: int = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """Populations of one day. ``scans``: sampled scan packets; ``forged``: forged samples per burst of them."""

    beacons: int = 50
    talkers: int = 40
    one_shots: int = 60
    answering: int = 15
    floods: int = 6
    scans: int = 4_000
    forged: int = 400
    listed: int = 120


@dataclass(frozen=True, slots=True)
class Scenario:
    """``faults``: how many of each kind in a day, on average."""

    name: str
    fabric: Fabric = field(default_factory=Fabric)
    capture: Capture = field(default_factory=Capture)
    traffic: Traffic = field(default_factory=Traffic)
    faults: dict[str, float] = field(default_factory=dict)


def read(name: str) -> Scenario:
    """Raises ``TypeError`` for a key that no scenario has."""
    raw = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return Scenario(
        name,
        Fabric(**raw.pop("fabric", {})),
        Capture(**raw.pop("capture", {})),
        Traffic(**raw.pop("traffic", {})),
        **raw,
    )


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def of_seed(seed: int) -> Scenario:
    """Seeds go through the scenarios in turn; the one for figures has too little trouble to be of use here."""
    everything = [name for name in names() if name != "quality"]
    return read(everything[seed % len(everything)])
