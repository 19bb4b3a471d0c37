# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""What the documents say is so: commands, options, targets, links, metrics, the picture, and the lines one copies."""

import re
import shutil
import socket
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest

from sentinel.capture.lifecycle import picture
from sentinel.capture.policy import RefusalReason
from sentinel.cli import cli
from sentinel.config.settings import Settings, parse
from sentinel.daemon import Daemon
from tests.support.running import until
from tests.support.traffic import datagram

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OPERATIONS = DEPLOY / "OPERATIONS.md"
ROOT_DOCUMENTS = ("README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DEPLOY.rglob("*.md"), *(ROOT / "feeds").rglob("*.md")])
# Configuration that is read by people too.
COMMENTED = sorted(path for path in DEPLOY.glob("*") if path.suffix in {".toml", ".conf", ".service"})

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?<!-u )(?<!-g )\bsentinel ([a-z]+(?: [a-z]+)?)([^\n`|]*)")
GROUPS = {name for name, command in cli.commands.items() if isinstance(command, click.Group)}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def code(text: str) -> str:
    """Fenced blocks and spans of code, one a line; a shell line's continuation belongs to it."""
    blocks = [body.replace("\\\n", " ") for language, body in FENCE.findall(text) if language in {"sh", ""}]
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", FENCE.sub("", text))])


def blocks(path: Path, language: str, containing: str) -> list[str]:
    return [body for kind, body in FENCE.findall(read(path)) if kind == language and containing in body]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(words, rest of the line) wherever ``sentinel`` is called: ``captures list`` are two words, ``run`` is one."""
    for words, rest in COMMAND.findall(text):
        first, _, second = words.partition(" ")
        if first == "sentinel":
            continue
        yield (words, rest) if first in GROUPS and second else (first, f" {second}{rest}")


def find(words: str) -> click.Command | None:
    first, _, second = words.partition(" ")
    command: click.Command | None = cli.commands.get(first)
    if second and isinstance(command, click.Group):
        command = command.commands.get(second)
    return command


def test_the_documents_are_here() -> None:
    assert {path.name for path in DOCUMENTS} >= {*ROOT_DOCUMENTS, "OPERATIONS.md"}


@pytest.mark.parametrize("path", [*DOCUMENTS, *COMMENTED], ids=lambda path: path.name)
def test_every_command_that_is_named_exists(path: Path) -> None:
    text = code(read(path)) if path.suffix == ".md" else "\n".join(re.findall(r"`([^`\n]+)`", read(path)))
    for words, rest in commands(text):
        command = find(words)
        assert command is not None, f"{path.name}: sentinel {words}"
        options = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest.partition(" #")[0]):
            assert option in options | {"--help"}, f"{path.name}: sentinel {words} {option}"


def test_the_readme_names_every_command_and_option() -> None:
    text = read(ROOT / "README.md")
    named = {words for words, _ in commands(code(text))}
    wanted = set(cli.commands) - GROUPS
    wanted |= {f"{group} {name}" for group in GROUPS for name in cli.commands[group].commands}  # type: ignore[attr-defined]  # of a click.Group
    assert wanted - named == set()
    options = {
        option
        for words in wanted
        for parameter in (find(words) or cli).params
        for option in parameter.opts
        if option.startswith("--") and option not in {"--config", "--write", "--verbose"}
    }
    assert {option for option in options if option not in text} == set()


def test_make_targets_exist() -> None:
    makefile = read(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for path in DOCUMENTS:
        named = set(re.findall(r"(?:^|\s)make ([a-z]+)\b", code(read(path)), re.MULTILINE))
        assert named <= targets, path.name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", read(path))):
        if "://" not in target and not target.startswith("#"):
            assert (path.parent / target.partition("#")[0]).exists(), f"{path.name}: {target}"


def test_the_picture_is_the_table() -> None:
    assert [body.rstrip("\n") for body in blocks(ROOT / "ARCHITECTURE.md", "mermaid", "")] == [picture()]


def test_the_rooms_are_all_described() -> None:
    text = read(ROOT / "ARCHITECTURE.md")
    rooms = {path.name for path in (ROOT / "sentinel").iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms if f"`{room}/`" not in text} == set()


@pytest.mark.parametrize("path", [*DOCUMENTS, *COMMENTED], ids=lambda path: path.name)
def test_no_path_of_a_building_machine(path: Path) -> None:
    text = read(path)
    here = [each for each in (ROOT, ROOT.parent, Path.home(), Path(tempfile.gettempdir())) if len(each.parts) > 1]
    assert [str(each) for each in here if re.search(rf"{re.escape(str(each))}(?![\w-])", text)] == []
    assert re.findall(r"/home/\w+|/Users/\w+|[A-Z]:\\\\", text) == []


def test_settings_that_are_named_exist() -> None:
    sections = set(Settings.model_fields)
    for path in DOCUMENTS:
        for section, key in re.findall(r"`\[?(\w+)\]?[. ](\w+)(?: = [^`]*)?`", read(path)):
            if section not in sections or section in {"switch", "report"} or key in cli.commands:
                continue
            model = Settings.model_fields[section].annotation
            names = {field.alias or name for name, field in model.model_fields.items()}  # type: ignore[union-attr]  # a section
            assert key in names, f"{path.name}: {section}.{key}"


@pytest.mark.parametrize("body", blocks(ROOT / "README.md", "toml", "[network]"))
def test_settings_in_the_readme_are_valid(body: str) -> None:
    assert parse(tomllib.loads(body), "README.md").switch


@pytest.fixture
def metrics(tmp_path: Path) -> str:
    """The names a daemon exports that receives ERSPAN too; a counter by reason has its series once it has counted."""
    settings: dict[str, object] = {
        "state_dir": str(tmp_path),
        "network": {"local": ["192.0.2.0/24"]},
        "capture": {"mode": "automatic", "erspan_destination": "198.51.100.70"},
        "switch": [{"name": "leaf1", "agents": ["192.0.2.11"], "url": "https://192.0.2.11:8443"}],
        "sflow": {"listen": ["127.0.0.1:0"]},
        "erspan": {"gre_in_udp": "127.0.0.1:0"},
        "feeds": {"files": [str(tmp_path / "page.txt")]},
    }
    (tmp_path / "page.txt").write_text("<!DOCTYPE html><html>no list</html>")
    daemon = Daemon(parse(settings, "test"))
    daemon.start()
    try:
        listener = daemon.sflow.sockets()[0].listener
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for agent in ("192.0.2.11", "192.0.2.99"):
                stranger.sendto(datagram(agent=agent), ("127.0.0.1", int(listener.rpartition(":")[2])))
        until(lambda: b'unknown_agent"} 1.0' in daemon.overview.metrics(), what="the datagrams were taken")
        return daemon.overview.metrics().decode()
    finally:
        daemon.stop()


def test_metrics_that_are_named_are_exported(metrics: str) -> None:
    named = {name for path in DOCUMENTS for name in re.findall(r"`(sentinel_[a-z_]+(?:\{[^}…]*\})?)", read(path))}
    assert len(named) > 10
    assert {name for name in named if name not in metrics} == set()


def test_reasons_that_are_named_are_given() -> None:
    [row] = [line for line in read(OPERATIONS).splitlines() if "refused_…" in line]
    named = {word for words in re.findall(r"((?:`\w+`(?:, )?)+):", row) for word in re.findall(r"`(\w+)`", words)}
    assert len(named) > 5
    assert named <= set(get_args(RefusalReason))


# --- lines one copies ---------------------------------------------------------------------------


def run(script: str, folder: Path) -> str:
    """Run a block as it is written, but in ``folder`` and as whoever runs the tests."""
    script = re.sub(r"\bsudo (?:-u \w+ )?", "", script).replace("/etc/sentinel", str(folder / "etc"))
    script = re.sub(r" -o \w+ -g \w+", "", script)
    done = subprocess.run(["sh", "-euc", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here")
def test_the_certificates_can_be_made_and_hold(tmp_path: Path) -> None:
    """Strictly checked, as Python 3.13 does by default."""
    (tmp_path / "etc").mkdir()
    authority, switch = blocks(OPERATIONS, "sh", "openssl req")
    run(authority + switch, tmp_path)
    for option, name in (("-verify_hostname", "leaf1.example"), ("-verify_ip", "192.0.2.11")):
        check = ["openssl", "verify", "-x509_strict", "-CAfile", "etc/switches.pem", option, name, "cert.pem"]
        done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    owner, token = (tmp_path / "etc" / "switches.token").read_text().split()
    assert (owner, len(token)) == ("sentinel", 64)
    assert (tmp_path / "key.pem").stat().st_mode & 0o077 == 0


def test_the_test_pair_is_set_as_it_is_written(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    shutil.copy(DEPLOY / "sentinel.toml", etc)
    [body] = blocks(OPERATIONS, "sh", "test.txt")
    run("\n".join(line for line in body.splitlines() if "tee" in line or "sed" in line), tmp_path)
    settings = parse(tomllib.loads(read(etc / "sentinel.toml")), "sentinel.toml")
    assert settings.capture.mode == "automatic"
    assert settings.feeds.files == (f"{etc}/test.txt:plain:test",)
    assert (etc / "test.txt").read_text() == "203.0.113.66\n"


def test_the_switch_gets_the_destination(tmp_path: Path) -> None:
    shipped = DEPLOY / "switch" / "switch-acl-api.toml"
    [line] = re.findall(r"^sudo sed -i '(s/\^erspan_destinations.*)' /etc", read(OPERATIONS), re.MULTILINE)
    edited = subprocess.run(["sed", line, str(shipped)], capture_output=True, text=True, check=True).stdout
    assert tomllib.loads(edited)["erspan_destinations"] == ["198.51.100.70"]


def test_files_that_are_named_are_here() -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]+\w", " ".join(code(read(path)) for path in DOCUMENTS)))
    assert {
        name for name in named if not (ROOT / name.rstrip("*")).exists() and not list(ROOT.glob(f"{name}*"))
    } == set()
    assert "deploy/sentinel.service" in named


def test_units_that_are_named_are_shipped() -> None:
    named = set(re.findall(r"\b(?:switch-acl-api|sentinel)[a-z-]*(?:@mgmt)?\.(?:service|timer)\b", read(OPERATIONS)))
    units = {path.name for path in DEPLOY.rglob("*") if path.suffix in {".service", ".timer"}}
    assert {name.replace("@mgmt", "") for name in named} <= units
    assert units <= {name.replace("@mgmt", "") for name in named} | {"switch-acl-api-expire.service"}
