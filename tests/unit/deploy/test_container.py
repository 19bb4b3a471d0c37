# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile: everything the wheel needs is copied, nobody is root, and the health check tells good from bad."""

import http.server
import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sentinel.cli import cli
from sentinel.config.settings import Settings

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of every line, continuation lines joined, comments left out."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def values(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def test_all_that_the_wheel_is_built_from_is_copied() -> None:
    copied = {word for rest in values("COPY") if "--from" not in rest for word in rest.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    packages = PROJECT["tool"]["setuptools"]["packages"]
    folders = PROJECT["tool"]["setuptools"]["package-dir"]
    needed = {Path(folders.get(package, package.replace(".", "/"))).parts[0] for package in packages}
    assert copied == needed | {"pyproject.toml", "setup.py", "README.md", *PROJECT["project"]["license-files"]}
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_the_image_has_a_python_the_project_takes() -> None:
    bases = {rest.split()[0] for rest in values("FROM")}
    [base] = bases
    version = re.fullmatch(r"python:3\.(\d+)-slim-bookworm", base)
    assert version is not None
    assert int(version[1]) >= int(PROJECT["project"]["requires-python"].removeprefix(">=3."))


def test_it_runs_the_daemon_and_not_as_root() -> None:
    assert values("USER") == ["6343:6343"]
    [program], [arguments] = map(json.loads, values("ENTRYPOINT")), map(json.loads, values("CMD"))
    assert Path(program[0]).name in PROJECT["project"]["scripts"]
    assert arguments[0] in cli.commands


def test_ports_and_state_are_the_settings_own() -> None:
    fields = Settings.model_fields
    ports = {fields["sflow"].default.listen[0][1]: "/udp", fields["web"].default.listen[1]: ""}
    assert values("EXPOSE") == [" ".join(f"{port}{kind}" for port, kind in ports.items())]
    assert values("VOLUME") == [str(fields["state_dir"].default)]


def test_the_only_name_of_the_outside_is_the_base_image() -> None:
    code = " ".join(f"{instruction} {rest}" for instruction, rest in instructions())
    assert re.findall(r"\b[a-z0-9-]+\.(?:com|org|io|net|dev)\b|https?://(?!127)", code) == []


@contextmanager
def answering(status: int) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_asks_the_daemon(status: int, healthy: bool) -> None:
    [check] = values("HEALTHCHECK")
    command = json.loads(check.partition(" CMD ")[2])
    with answering(status) as port:
        code = command[2].replace("8008", str(port))
        done = subprocess.run([sys.executable, "-c", code], check=False, timeout=30)
    assert (done.returncode == 0) is healthy
