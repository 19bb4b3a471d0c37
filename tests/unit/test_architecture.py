# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The laws of the house: who may import whom, what is pure, how large a file may be. Each is shown to bite."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The ground floor: every room may stand on it.
GROUND = {
    *(
        "model",
        "errors",
        "limits",
        "columns",
        "deadlines",
        "flowmodel",
        "handover",
        "problems",
        "pulse",
        "readings",
        "rows",
        "texts",
        "times",
        "tokenfile",
    ),
    *("rows", "times", "compiled", "filters", "__version__"),
}
# The stages, in the order of the data, with the neighbours that each may know.
STAGES: dict[str, set[str]] = {
    "receive": set(),
    "packets": set(),
    "sflow": {"receive", "packets"},
    "blacklist": set(),
    "scan": {"sflow", "blacklist", "receive"},
    "flows": set(),
    "detect": set(),
    "capture": set(),
    "decide": {"scan", "blacklist", "detect", "capture"},
    "erspan": {"receive", "packets"},
    "report": set(),
    "web": set(),
}
CONFIG = {"config"}
# The rooms that put others together, with what each may know; `commands` and `demo` also the makers of components.
COMPOSERS: dict[str, set[str]] = {
    "components": {*STAGES, *CONFIG},
    "daemon": {"components", "config", "web"},
    "commands": {*STAGES, *CONFIG, "daemon", "demo"},
    "demo": {*CONFIG, "daemon", "sflow", "packets"},
    "cli": {"commands"},
    "__main__": {"cli"},
}
NEIGHBOURS = {
    **{room: set[str]() for room in (*GROUND, *CONFIG)},
    **STAGES,
    **COMPOSERS,
}
# Pure modules: what decides or parses does not look at the clock, the disk or the wire.
PURE = [
    *("detect/*", "scan/[!t]*", "packets/link.py", "packets/ip.py", "packets/fragments.py", "problems.py", "rows.py"),
    *("deadlines.py", "columns.py", "flows/arrays.py", "flows/query.py"),
    *(f"sflow/{name}.py" for name in ("datagram", "header", "records", "cursor", "tablespace")),
    *(f"blacklist/{name}.py" for name in ("differences", "overlap", "rules", "unpack", "trie", "formats/*")),
    *("erspan/decapsulate.py", "report/eve.py", "capture/[!sm]*", "capture/switchbook.py"),
]
IMPURE_MODULES = {"socket", "time", "threading", "logging", "os", "subprocess", "requests", "flask", "random"}
# inet_pton and inet_ntop are arithmetic that happens to live in the socket module.
PURE_NAMES = {("socket", "inet_ntop"), ("socket", "inet_pton"), ("socket", "AF_INET"), ("socket", "AF_INET6")}
MAX_MODULE_LINES, MAX_FUNCTION_LINES, MAX_TEST_LINES, MAX_DAEMON_LINES = 450, 80, 550, 150
_CYTHON_DEF = re.compile(r"( *)(?:cdef|cpdef|def)\b.*\(")

Law = Callable[[Path], list[str]]


def modules(root: Path) -> list[Path]:
    return sorted(path for top in ("sentinel", "switch_acl_api") for path in (root / top).rglob("*.py"))


def name_of(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Every name imported anywhere in a module, those for type checking alone included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def of_sentinel(root: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Each import of ours by a module of ours: the module, its room, the parts of what it imports."""
    for path in modules(root):
        name = name_of(path, root)
        parts = name.split(".")
        if parts[0] != "sentinel" or len(parts) == 1:
            continue
        for imported in sorted(imports(path)):
            other = imported.split(".")
            if (other[0] == "sentinel" and len(other) > 1) or other[0] == "switch_acl_api":
                yield name, parts[1], other


# --- the laws: each gives the sentences of what breaks it --------------------------------------------


def rooms_know_their_neighbours(root: Path) -> list[str]:
    wrong = [
        f"{name_of(path, root)}: a new room; name its neighbours in this test"
        for path in modules(root)
        if (parts := name_of(path, root).split("."))[0] == "sentinel"
        and len(parts) > 1
        and parts[1] not in NEIGHBOURS
        and parts[1] != "feeds"
    ]
    for name, room, other in of_sentinel(root):
        may_know = {*NEIGHBOURS.get(room, ()), *GROUND, room}
        if other[0] == "switch_acl_api":
            if room != "demo":
                wrong.append(f"{name} imports {'.'.join(other)}")
        elif other[1] == "components" and room in {"commands", "demo"}:
            # Of a component they may use what turns settings into values, not the running thing.
            if not other[-1].endswith("_of"):
                wrong.append(f"{name} imports {'.'.join(other)}")
        elif other[1] not in may_know:
            wrong.append(f"{name} imports {'.'.join(other)}")
    return wrong


def components_do_not_know_each_other(root: Path) -> list[str]:
    return [
        f"{name} imports {'.'.join(other)}"
        for name, room, other in of_sentinel(root)
        if room == "components" and other[1] == "components" and other[2] not in {"component", name.split(".")[-1]}
    ]


def only_the_daemon_knows_components(root: Path) -> list[str]:
    return [
        f"{name} imports {'.'.join(other)}"
        for name, room, other in of_sentinel(root)
        if other[1] == "components" and room not in {"components", "daemon"} and not other[-1].endswith("_of")
    ]


def the_shim_knows_nothing_of_sentinel(root: Path) -> list[str]:
    shim = [path for path in modules(root) if path.is_relative_to(root / "switch_acl_api")]
    return [name_of(path, root) for path in shim for name in imports(path) if name.startswith("sentinel")]


def pure_modules_do_not_act(root: Path) -> list[str]:
    wrong = []
    for pattern in PURE:
        for path in (root / "sentinel").glob(pattern if pattern.endswith(".py") else pattern + ".py"):
            for name in sorted(imports(path)):
                module, _, attribute = name.partition(".")
                if module in IMPURE_MODULES and (module, attribute) not in PURE_NAMES:
                    wrong.append(f"{name_of(path, root)} imports {name}")
    return wrong


def no_import_goes_in_circles(root: Path) -> list[str]:
    names = {name_of(path, root): path for path in modules(root)}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        graph[name] = {target for each in imports(path) if (target := _module(each, names)) and target != name}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def _module(imported: str, names: Iterable[str]) -> str | None:
    for candidate in (imported, imported.rpartition(".")[0]):
        if candidate in names:
            return candidate
    return None


def files_and_functions_are_small(root: Path) -> list[str]:
    wrong = []
    for top, most in (("sentinel", MAX_MODULE_LINES), ("switch_acl_api", MAX_MODULE_LINES), ("tests", MAX_TEST_LINES)):
        for path in sorted(each for end in ("py", "pyx", "pxi", "pxd") for each in (root / top).rglob(f"*.{end}")):
            lines = path.read_text(encoding="utf-8").splitlines()
            if len(lines) > most:
                wrong.append(f"{path.relative_to(root)} has {len(lines)} lines, more than {most}")
            if top == "tests":
                continue
            for name, length in _functions(path, lines):
                if length > MAX_FUNCTION_LINES:
                    wrong.append(f"{path.relative_to(root)}: {name} has {length} lines, more than {MAX_FUNCTION_LINES}")
    daemon = root / "sentinel" / "daemon.py"
    if daemon.exists() and len(daemon.read_text(encoding="utf-8").splitlines()) > MAX_DAEMON_LINES:
        wrong.append(f"daemon.py has more than {MAX_DAEMON_LINES} lines")
    return wrong


def _functions(path: Path, lines: list[str]) -> Iterator[tuple[str, int]]:
    if path.suffix == ".py":
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1
        return
    # Cython: from its head to the last line that is indented deeper.
    for at, line in enumerate(lines):
        head = _CYTHON_DEF.match(line)
        if head is None:
            continue
        depth, end = len(head[1]), at
        for later, text in enumerate(lines[at + 1 :], at + 1):
            if text.strip() and not text.startswith(" " * (depth + 1)) and not text.lstrip().startswith(")"):
                break
            end = later if text.strip() else end
        yield line.strip(), end - at + 1


def package_inits_are_empty(root: Path) -> list[str]:
    wrong = []
    for path in modules(root):
        if path.name == "__init__.py" and name_of(path, root) not in {"sentinel", "switch_acl_api"}:
            body = ast.parse(path.read_text(encoding="utf-8")).body
            if not all(isinstance(node, ast.Expr) for node in body):
                wrong.append(str(path.relative_to(root)))
    return wrong


# --- kept ------------------------------------------------------------------------------------------

LAWS: tuple[Law, ...] = (
    rooms_know_their_neighbours,
    components_do_not_know_each_other,
    only_the_daemon_knows_components,
    the_shim_knows_nothing_of_sentinel,
    pure_modules_do_not_act,
    no_import_goes_in_circles,
    files_and_functions_are_small,
    package_inits_are_empty,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_house_keeps_its_laws(law: Law) -> None:
    assert law(ROOT) == []


@pytest.mark.parametrize(
    ("law", "file", "text"),
    [
        (rooms_know_their_neighbours, "sentinel/detect/bad.py", "from sentinel.capture import engine"),
        (rooms_know_their_neighbours, "sentinel/sflow/bad.py", "from sentinel.blacklist import trie"),
        (rooms_know_their_neighbours, "sentinel/report/bad.py", "from sentinel.config import settings"),
        (rooms_know_their_neighbours, "sentinel/commands/bad.py", "from sentinel.components.sflow import Sflow"),
        (rooms_know_their_neighbours, "sentinel/cli.py", "import sentinel.daemon"),
        (rooms_know_their_neighbours, "sentinel/daemon.py", "from sentinel.sflow import listener"),
        (rooms_know_their_neighbours, "sentinel/scan/bad.py", "from switch_acl_api import grammar"),
        (rooms_know_their_neighbours, "sentinel/cellar/__init__.py", ""),
        (rooms_know_their_neighbours, "sentinel/model.py", "from sentinel.detect import engine"),
        (components_do_not_know_each_other, "sentinel/components/a.py", "from sentinel.components.b import B"),
        (only_the_daemon_knows_components, "sentinel/web/bad.py", "from sentinel.components.sflow import Sflow"),
        (the_shim_knows_nothing_of_sentinel, "switch_acl_api/bad.py", "import sentinel.model"),
        (pure_modules_do_not_act, "sentinel/detect/bad.py", "import time"),
        (pure_modules_do_not_act, "sentinel/capture/engine.py", "import logging"),
        (no_import_goes_in_circles, "sentinel/detect/a.py", "from sentinel.detect import a_b"),
        (files_and_functions_are_small, "sentinel/detect/bad.py", "\n" * 451),
        (files_and_functions_are_small, "sentinel/scan/native/bad.pxi", "\n" * 451),
        (files_and_functions_are_small, "sentinel/scan/bad.pyx", "cdef int f(int a) nogil:\n" + "    a += 1\n" * 81),
        (files_and_functions_are_small, "sentinel/detect/bad.py", "def f():\n" + "    print(1)\n" * 81),
        (files_and_functions_are_small, "tests/unit/bad.py", "\n" * 551),
        (files_and_functions_are_small, "sentinel/daemon.py", "\n" * 151),
        (package_inits_are_empty, "sentinel/detect/__init__.py", "from sentinel.detect.engine import Detector"),
    ],
)
def test_each_law_bites(law: Law, file: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    if law is no_import_goes_in_circles:
        # The way back is for type checking alone, which counts.
        back = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sentinel.detect.a import A\n"
        (path.parent / "a_b.py").write_text(back, encoding="utf-8")
    assert law(tmp_path) != []


@pytest.mark.parametrize("top", ["sentinel", "switch_acl_api"])
def test_every_module_can_be_imported_alone(top: str) -> None:
    """In a process that forgets everything of ours between two imports, so that none leans on an earlier one."""
    names = [name for path in modules(ROOT) if (name := name_of(path, ROOT)).startswith(top)]
    program = (
        "import importlib, sys\n"
        f"for name in {[name for name in names if not name.endswith('__main__')]!r}:\n"
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
