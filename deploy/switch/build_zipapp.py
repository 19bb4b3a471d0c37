# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Build the one file that a switch needs: ``python build_zipapp.py OUTPUT``.

Core, the ``cumulus`` driver and the pinned dependencies go in; compiled code and other drivers do not.
The same inputs give the same octets. Fails when a file of ours is no Python 3.7.
"""

import argparse
import ast
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "switch_acl_api"
DRIVER = "cumulus"
SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = b"import sys\n\nfrom switch_acl_api.cli import main\n\nsys.exit(main())\n"
EPOCH = (1980, 1, 1, 0, 0, 0)
COMPILED = (".so", ".pyd", ".c", ".pyx")
NOT_NEEDED = (".pyi", "py.typed", ".typed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("output", type=Path)
    output: Path = parser.parse_args().output
    files = dict(own_files())
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder)
        download(wheels)
        for wheel in sorted(wheels.glob("*.whl")):
            files.update(wheel_files(wheel))
    files["__main__.py"] = MAIN
    write(output, files)
    sys.stderr.write(f"{output}: {output.stat().st_size} octets, {len(files)} files\n")
    return 0


def own_files() -> Iterator[tuple[str, bytes]]:
    """Core, what all drivers share, and the package of one driver."""
    for path in sorted(PACKAGE.rglob("*")):
        name = path.relative_to(PACKAGE)
        other = name.parts[0] == "drivers" and len(name.parts) > 2 and name.parts[1] != DRIVER
        if path.suffix not in {".py", ".yaml"} or other:
            continue
        content = path.read_bytes()
        if path.suffix == ".py":
            ast.parse(content, str(path), feature_version=(3, 7))
        yield f"switch_acl_api/{name.as_posix()}", content


def download(folder: Path) -> None:
    """Only wheels, only the hashes in ``requirements.txt``, whatever Python runs this."""
    options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    target = ["--python-version=3.7", "--implementation=cp", "--abi=cp37m", "--platform=manylinux2014_x86_64"]
    requirements = ["-r", str(HERE / "requirements.txt"), "-d", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, *target, *requirements]
    subprocess.run(command, check=True)  # noqa: S603 -- a fixed list of arguments


def wheel_files(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Modules and licences of one wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            kept = name.endswith(".py") or (".dist-info/" in name and "LICENSE" in name.upper())
            if kept and not name.endswith(COMPILED + NOT_NEEDED):
                yield name, archive.read(name)


def write(output: Path, files: dict[str, bytes]) -> None:
    with output.open("wb") as stream:
        stream.write(SHEBANG)
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                info = zipfile.ZipInfo(name, EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                archive.writestr(info, files[name])
    output.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
