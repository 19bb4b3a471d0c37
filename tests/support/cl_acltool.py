# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Cumulus Linux' cl-acltool that behaves like it, failures included.

``install`` puts executables into a folder; beside them live ``policy.d``, ``state.json`` (what "hardware" has),
``behaviour.json`` (how to misbehave) and ``calls.log``. Deleting ``state.json`` is a reboot. ``ip`` and ``ping`` are
there, too, answering from ``ip.json``.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import stat
import sys
import time
from pathlib import Path
from typing import Any

DEFAULT_ENTRIES = 36
MAX_SESSIONS = 2
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?\Z")
_OPTIONS = {"-A", "-i", "--in-interface", "-o", "--out-interface", "-s", "-d", "-p", "-j", "--dport", "--sport"}
_TARGETS = {"ERSPAN": {"--src-ip", "--dst-ip", "--ttl"}, "SPAN": {"--dport"}, "DROP": set(), "ACCEPT": set()}

Rule = dict[str, str]


class BadFileError(Exception):
    pass


def install(home: Path) -> Path:
    """Executables ``cl-acltool``, ``ip`` and ``ping`` in ``home``; returns the first."""
    (home / "policy.d").mkdir(exist_ok=True)
    for name, entry in (("cl-acltool", "main"), ("ip", "main_ip"), ("ping", "main_ping")):
        path = home / name
        path.write_text(
            f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"import cl_acltool\nfrom pathlib import Path\n"
            f"sys.exit(cl_acltool.{entry}(sys.argv[1:], Path(__file__).resolve().parent))\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return home / "cl-acltool"


def main(argv: list[str], home: Path) -> int:
    behaviour = _load(home / "behaviour.json", {})
    with (home / "calls.log").open("a") as log:
        log.write(" ".join(argv) + "\n")
    if argv[:1] == ["-i"] and len(argv) == 1:
        return _install(home, behaviour)
    if argv[:2] == ["-L", "all"]:
        return _list(home, behaviour, argv[2:])
    print("usage: cl-acltool [-h] (-i | -F | -Z | -L {all,ip,ip6,eb} | -V)")
    print(f"cl-acltool: error: unrecognized arguments: {' '.join(argv)}")
    return 2


def _install(home: Path, behaviour: dict[str, Any]) -> int:
    busy = home / "busy"
    with busy.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with (home / "calls.log").open("a") as log:
                log.write("OVERLAP\n")
        try:
            return _install_alone(home, behaviour)
        finally:
            with contextlib.suppress(FileNotFoundError):
                busy.unlink()


def _install_alone(home: Path, behaviour: dict[str, Any]) -> int:
    time.sleep(behaviour.get("sleep", 0))
    if "garbage" in behaviour:
        sys.stdout.buffer.write(os.urandom(200_000) + b"\n\x1b[31mred\x00\n")
        return int(behaviour["garbage"])
    old = _load(home / "state.json", [])
    rules: list[Rule] = []
    try:
        for path in sorted((home / "policy.d").glob("*.rules")):
            print(f"Reading rule file {path} ...")
            print(f"Processing rules in file {path} ...")
            rules += _read(path, behaviour)
    except BadFileError as error:
        print(f"error: {error}")
        return 1
    print("Installing acl policy")
    failure = _hardware(rules, behaviour)
    if failure:
        if behaviour.get("half"):
            _save(home / "state.json", rules[: len(rules) // 2])
        print(failure)
        return 0 if behaviour.get("exit_zero") else 1
    if not behaviour.get("lies"):
        known = {_key(rule): (rule["packets"], rule["bytes"]) for rule in old}
        for rule in rules:
            rule["packets"], rule["bytes"] = known.get(_key(rule), ("0", "0"))
        _save(home / "state.json", rules)
    print("done.")
    return 0


def _hardware(rules: list[Rule], behaviour: dict[str, Any]) -> str:
    sessions = {(rule["src-ip"], rule["dst-ip"]) for rule in rules if rule["target"] == "ERSPAN"}
    if len(sessions) > MAX_SESSIONS:
        return "error: hw sync failed (Bulk counter init failed with No More Resources). Rolling back .."
    if len(rules) + DEFAULT_ENTRIES > behaviour.get("tcam", 500) or behaviour.get("hw_sync"):
        return "error: hw sync failed (sync_acl hardware installation failed) Rolling back .. failed."
    return ""


def _read(path: Path, behaviour: dict[str, Any]) -> list[Rule]:
    section = ""
    rules: list[Rule] = []
    for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("["):
            section = text
            continue
        if not section:
            raise BadFileError(f"{path}: line {number}: no section")
        rule = _parse(text)
        if rule is None or rule.get("-s") in behaviour.get("poison", []):
            raise BadFileError(f"{path}: line {number}: iptables: Bad rule (does a matching rule exist?): {text}")
        rules.append({"section": section.strip("[]"), **rule})
    return rules


def _parse(text: str) -> Rule | None:
    words = shlex.split(text)
    rule: Rule = {"target": "", "-s": "anywhere", "-d": "anywhere", "in": "any", "src-ip": "", "dst-ip": ""}
    while words:
        option = words.pop(0)
        known = _OPTIONS | _TARGETS.get(rule["target"], set())
        if option not in known or not words:
            return None
        value = words.pop(0)
        if option == "-j":
            if value not in _TARGETS:
                return None
            rule["target"] = value
        elif option in {"-i", "--in-interface"}:
            rule["in"] = value
        else:
            rule[option.lstrip("-") if option in {"--src-ip", "--dst-ip"} else option] = value
    complete = rule["target"] and rule.get("-A") in {"FORWARD", "INPUT", "OUTPUT", "INPUT,FORWARD"}
    return (
        rule
        if complete and all(_ADDRESS.match(rule[o]) or ":" in rule[o] or rule[o] == "anywhere" for o in ("-s", "-d"))
        else None
    )


def _list(home: Path, behaviour: dict[str, Any], options: list[str]) -> int:
    time.sleep(behaviour.get("list_sleep", 0))
    if options and behaviour.get("no_numeric"):
        print(f"cl-acltool: error: unrecognized arguments: {' '.join(options)}")
        return 2
    if behaviour.get("list_fails"):
        print("error: cannot talk to switchd")
        return 1
    anything = "*" if "-N" in options else "any"
    for section in ("iptables", "ip6tables"):
        print(f"-------------------------------\nListing rules of type {section}:\n-------------------------------")
        print("TABLE filter :\nChain INPUT (policy ACCEPT 167 packets, 16481 bytes)")
        print(" pkts bytes target     prot opt in     out     source               destination         ")
        print(f"    0     0 DROP       all  --  swp+   {anything}     240.0.0.0/5          0.0.0.0/0\n")
        print("Chain FORWARD (policy ACCEPT 0 packets, 0 bytes)")
        print(" pkts bytes target     prot opt in     out     source               destination         ")
        for rule in _load(home / "state.json", []):
            if rule["section"] == section and rule["target"] == "ERSPAN":
                print(_row(rule, anything, exact="-x" in options))
        print()
    return 0


def _row(rule: Rule, anything: str, exact: bool) -> str:
    packets, size = rule["packets"], rule["bytes"]
    if not exact:
        packets, size = _short(packets), _short(size)
    dashes = "--" if rule["section"] == "iptables" else "  "
    source, destination = (rule[o].removesuffix("/32").removesuffix("/128") for o in ("-s", "-d"))
    return (
        f"{packets:>5} {size:>5} ERSPAN     all  {dashes}  {rule['in']}   {anything}     {source:<20} {destination:<20}"
        f" ERSPAN src-ip:{rule['src-ip']} dst-ip:{rule['dst-ip']}"
    )


def _short(count: str) -> str:
    """As iptables without -x: 99,999 is the last number in full."""
    number = int(count)
    for unit in ("", "K", "M"):
        if number < 100_000:
            return f"{number}{unit}"
        number //= 1000
    return f"{number}G"


def main_ip(argv: list[str], home: Path) -> int:
    answers = _load(home / "ip.json", {})
    if answers.get("ping_resolves") and (home / "pinged").exists():
        answers["neigh"] = answers["ping_resolves"]
    for word in ("route", "neigh", "addr"):
        if word in argv:
            print(json.dumps(answers.get(word, [])))
            return 0 if word in answers or word == "addr" else 2
    return 2


def main_ping(argv: list[str], home: Path) -> int:
    (home / "pinged").write_text(" ".join(argv))
    return 0


def count(home: Path, source: str, packets: int, size: int) -> None:
    """What the ASIC would have counted for rules from ``source``."""
    rules = _load(home / "state.json", [])
    for rule in rules:
        if rule["-s"] == source:
            rule["packets"], rule["bytes"] = str(packets), str(size)
    _save(home / "state.json", rules)


def behave(home: Path, **behaviour: Any) -> None:
    _save(home / "behaviour.json", behaviour)


def calls(home: Path) -> list[str]:
    path = home / "calls.log"
    return path.read_text().splitlines() if path.exists() else []


def installed_sources(home: Path) -> list[str]:
    return [rule["-s"] for rule in _load(home / "state.json", []) if rule["target"] == "ERSPAN"]


def _key(rule: Rule) -> tuple[str, ...]:
    return tuple(rule.get(part, "") for part in ("section", "in", "-s", "-d", "src-ip", "dst-ip"))


def _load(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default


def _save(path: Path, value: Any) -> None:
    temp = path.with_suffix(f".{os.getpid()}")
    temp.write_text(json.dumps(value))
    temp.replace(path)
