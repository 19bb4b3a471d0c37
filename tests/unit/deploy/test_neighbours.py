# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration of what stands beside the daemon: hsflowd in front of it, nginx before its console."""

import re
from pathlib import Path

from sentinel.config.settings import Settings
from sentinel.limits import MAX_LONG_POLL_S, MAX_REQUEST_BODY_BYTES

DEPLOY = Path(__file__).parents[3] / "deploy"
# What hsflowd 2 knows (host-sflow, src/Linux/hsflowtokens.h), as far as it is used here.
HSFLOWD = {"agent", "collector", "sampling", "polling", "headerBytes", "psample", "dropmon"}


def without_comments(name: str) -> str:
    return re.sub(r"#.*", "", (DEPLOY / name).read_text(encoding="utf-8"))


def test_hsflowd_sends_to_the_port_we_listen_on() -> None:
    text = without_comments("hsflowd.conf")
    body = re.fullmatch(r"\s*sflow \{(.*)\}\s*", text, re.DOTALL)
    assert body is not None
    assert text.count("{") == text.count("}")
    port = Settings.model_fields["sflow"].default.listen[0][1]
    assert re.findall(r"udpport = (\d+)", text) == [str(port)]
    used = {re.split(r"[ .]", line.strip())[0] for line in body[1].splitlines() if line.strip()}
    assert used == HSFLOWD


def nginx() -> dict[str, list[str]]:
    text = without_comments("nginx.conf")
    assert text.count("{") == text.count("}")
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"([a-z_]+) ([^;{}]+);", text):
        found.setdefault(key, []).append(value)
    return found


def test_the_proxy_keeps_what_the_guards_compare() -> None:
    directives = nginx()
    host, port = Settings.model_fields["web"].default.listen
    assert directives["proxy_pass"] == [f"http://{host}:{port}"]
    # $host would drop the port, and with it every write from a console that is not on 443.
    assert "Host $http_host" in directives["proxy_set_header"]


def test_the_proxy_lets_long_polls_be_long() -> None:
    directives = nginx()
    assert directives["proxy_buffering"] == ["off"]
    assert float(directives["proxy_read_timeout"][0].removesuffix("s")) > MAX_LONG_POLL_S
    assert int(directives["client_max_body_size"][0].removesuffix("k")) * 1024 >= MAX_REQUEST_BODY_BYTES


def test_the_proxy_speaks_tls_only() -> None:
    assert all(listen.endswith("443 ssl") for listen in nginx()["listen"])
