# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The shipped settings file: valid as it is, complete, and its commented defaults are the defaults."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from sentinel.blacklist.catalogue import shipped_descriptors
from sentinel.config.inventory import read_inventory
from sentinel.config.settings import Settings, SwitchEntry, parse

DEPLOY = Path(__file__).parents[3] / "deploy"
SHIPPED = DEPLOY / "sentinel.toml"
# "#key = value" is a setting that is not in force; prose has a blank after the "#".
UNSET = re.compile(r"^#(?=[a-z_]+ = )", re.MULTILINE)


def section_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(section_of, get_args(annotation)) if found), None)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every key that may be written, as ``section.key``, with its default."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        section = section_of(field.annotation)
        if section is None:
            yield path, field.get_default(call_default_factory=True)
        else:
            yield from keys(section, f"{path}.")


def written(text: str) -> dict[str, Any]:
    """The same paths for a TOML document; of ``[[switch]]`` the first."""
    found: dict[str, Any] = {}
    for name, value in tomllib.loads(text).items():
        table = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        if isinstance(table, dict):
            found |= {f"{name}.{key}": each for key, each in table.items()}
        else:
            found[name] = value
    return found


def everything() -> str:
    """The file with every setting in force, and the inventory it names being the shipped one."""
    text = UNSET.sub("", SHIPPED.read_text(encoding="utf-8"))
    return text.replace("/etc/sentinel/switches.csv", str(DEPLOY / "switches.csv"))


def test_the_shipped_file_is_valid() -> None:
    settings = parse(tomllib.loads(SHIPPED.read_text(encoding="utf-8")), "sentinel.toml")
    assert settings.capture.mode == "dry-run"
    assert [switch.name for switch in settings.switch] == ["leaf1"]


def test_the_feeds_it_names_come_along() -> None:
    enabled = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))["feeds"]["enabled"]
    assert set(enabled) <= set(shipped_descriptors())


def test_it_is_valid_with_every_setting_in_force() -> None:
    settings = parse(tomllib.loads(everything()), "sentinel.toml")
    assert [switch.name for switch in settings.switch] == ["leaf1", "leaf2", "leaf3", "spine1"]


def test_it_mentions_every_key_and_no_other() -> None:
    assert set(written(everything())) == {path for path, _ in keys(Settings)}


def test_a_key_is_mentioned_once() -> None:
    lines = re.findall(r"^(?:\[+[a-z]+\]+|#?[a-z_]+ = )", SHIPPED.read_text(encoding="utf-8"), re.MULTILINE)
    section, seen = "", set()
    for line in lines:
        if line.startswith("["):
            section = line
            continue
        key = (section, line.lstrip("#"))
        assert key not in seen
        seen.add(key)


def test_what_is_not_set_shows_its_default() -> None:
    """Loading the file with a default in force gives the same settings as loading it without."""
    shipped = SHIPPED.read_text(encoding="utf-8")
    plain = parse(tomllib.loads(shipped), "sentinel.toml")
    for path, default in keys(Settings):
        key = path.rpartition(".")[2]
        if default is None:
            continue
        found = [match for match in re.finditer(rf"^#{key} = .*$", shipped, re.MULTILINE) if at(shipped, match) == path]
        for match in found:
            in_force = shipped[: match.start()] + match[0][1:] + shipped[match.end() :]
            assert parse(tomllib.loads(in_force), path) == plain, path


def at(text: str, match: re.Match[str]) -> str:
    """The path of the key that ``match`` has found."""
    sections = re.findall(r"^\[+([a-z]+)\]+$", text[: match.start()], re.MULTILINE)
    key = match[0].lstrip("#").partition(" ")[0]
    return f"{sections[-1]}.{key}" if sections else key


def test_a_key_without_a_default_says_so() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    blocks = re.findall(r"((?:^# .*\n)+)((?:^#?[a-z_]+ = .*\n)+)", text, re.MULTILINE)
    said = {
        line.lstrip("#").partition(" ")[0]
        for prose, lines in blocks
        if "o default" in prose
        for line in lines.split("\n")
    }
    without = {path.rpartition(".")[2] for path, default in keys(Settings) if default is None}
    assert without - said == set()


def test_the_inventory_example_is_valid() -> None:
    rows, findings = read_inventory(DEPLOY / "switches.csv")
    assert findings == []
    switches = [SwitchEntry.model_validate(row) for row in rows]
    assert [switch.agents for switch in switches][1] == ("192.0.2.13", "192.0.2.113")
    assert {switch.role for switch in switches} == {"leaf", "spine"}


@pytest.mark.parametrize("name", ["sentinel.toml", "switches.csv"])
def test_examples_have_documentation_addresses_only(name: str) -> None:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    addresses = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)) - {"127.0.0.1", "0.0.0.0"}
    assert addresses
    assert all(address.startswith(("192.0.2.", "198.51.100.", "203.0.113.")) for address in addresses)
