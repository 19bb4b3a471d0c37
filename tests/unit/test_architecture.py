# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, and that every module can be imported alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The ground floor.
EVERYBODY = {"model", "errors", "limits", "compiled", "readings", "times"}
STAGES = {"packets", "flows", "blacklist", "detect", "capture", "report", "web", "config"}
# What a room may know of the others, beside EVERYBODY and itself.
MAY_KNOW: dict[str, set[str]] = {
    **{stage: set() for stage in STAGES},
    "model": set(),
    "errors": set(),
    "limits": set(),
    "compiled": set(),
    "readings": set(),
    "times": set(),
    "receive": {"sflow", "erspan", "report"},
    "sflow": {"receive", "packets"},
    "erspan": {"receive", "packets"},
    # Its compiled twin reads a batch in the very memory it was received in.
    "scan": {"sflow", "blacklist", "receive"},
    "decide": {"scan", "detect", "capture", "blacklist"},
}
COMPOSERS = {"daemon", "cli", "backend", "demo", "__main__", "__init__", "commands"}
# Pure stages: what decides or parses does not look at the clock, the disk or the wire.
PURE = [
    "detect/*",
    "scan/counters.py",
    "scan/flowtable.py",
    "scan/pairs.py",
    "scan/plain.py",
    "sflow/datagram.py",
    "sflow/header.py",
    "sflow/records.py",
    "sflow/cursor.py",
]
PURE += ["capture/engine.py", "capture/policy.py", "capture/switchbook.py", "capture/lifecycle.py", "capture/rules.py"]
PURE += ["capture/planner.py", "capture/placing.py", "capture/ledger.py", "capture/ending.py", "capture/reconcile.py"]
PURE += ["capture/budget.py"]
PURE += ["blacklist/differences.py", "blacklist/overlap.py", "blacklist/rules.py", "blacklist/unpack.py"]
PURE += ["blacklist/trie.py", "blacklist/formats/*", "erspan/decapsulate.py", "packets/fragments.py", "report/eve.py"]
IMPURE_MODULES = {"socket", "time", "threading", "logging", "os", "subprocess", "requests", "flask", "random"}
# inet_pton and inet_ntop are arithmetic that happens to live in the socket module.
PURE_NAMES = {("socket", "inet_ntop"), ("socket", "inet_pton"), ("socket", "AF_INET"), ("socket", "AF_INET6")}


def modules() -> list[Path]:
    return sorted(p for top in ("sentinel", "switch_acl_api") for p in (ROOT / top).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_stages_know_only_what_they_may() -> None:
    wrong = []
    for path in modules():
        parts = name_of(path).split(".")
        if parts[0] != "sentinel" or len(parts) == 1 or parts[1] in COMPOSERS:
            continue
        room = parts[1]
        assert room in MAY_KNOW, f"{path}: a new room; say in this test whom it may know"
        for name in imports(path):
            other = name.split(".")
            if other[0] == "switch_acl_api" or (
                other[0] == "sentinel" and other[1] not in EVERYBODY | MAY_KNOW[room] | {room, "__version__"}
            ):
                wrong.append(f"{name_of(path)} imports {name}")
    assert not wrong


def test_the_shim_knows_nothing_of_sentinel() -> None:
    assert not [
        p
        for p in modules()
        if p.is_relative_to(ROOT / "switch_acl_api")
        for n in imports(p)
        if n.startswith("sentinel")
    ]


def test_pure_modules_import_nothing_that_acts() -> None:
    wrong = []
    for pattern in PURE:
        for path in (ROOT / "sentinel").glob(pattern if pattern.endswith(".py") else pattern + ".py"):
            for name in imports(path):
                module, _, attribute = name.partition(".")
                if module in IMPURE_MODULES and (module, attribute) not in PURE_NAMES:
                    wrong.append(f"{name_of(path)} imports {name}")
    assert not wrong


@pytest.mark.parametrize("top", ["sentinel", "switch_acl_api"])
def test_every_module_can_be_imported_alone(top: str) -> None:
    """In a process that forgets everything of ours between two imports, so that none leans on an earlier one."""
    names = [name_of(p) for p in modules() if name_of(p).startswith(top) and not name_of(p).endswith("__main__")]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        f"    for loaded in [m for m in sys.modules if m.split('.')[0] == {top!r}]:\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_package_inits_are_empty() -> None:
    allowed = {"sentinel"}
    for path in modules():
        if path.name == "__init__.py" and name_of(path) not in allowed:
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert all(isinstance(n, ast.Expr) for n in body) or name_of(path) == "switch_acl_api", path
