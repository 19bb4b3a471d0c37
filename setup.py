# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled parts (receiving, scan, mirrored packets); everything else about the package stands in pyproject.toml.

A build without it must be asked for (``SENTINEL_PURE=1``), so that no wheel is slow by accident: where the compiler is
missing or fails, the build fails. A checkout that was never built runs with the plain scan.
"""

import os

from setuptools import Extension, setup


def extensions() -> list[Extension]:
    """The extension modules, or none where a build without them was asked for."""
    if os.environ.get("SENTINEL_PURE") == "1":
        return []
    from Cython.Build import cythonize  # noqa: PLC0415 - a pure build does without Cython

    modules = [
        Extension(
            "sentinel.receive._native", ["sentinel/receive/_native.pyx"], depends=["sentinel/receive/_native.pxd"]
        ),
        Extension(
            "sentinel.scan._native",
            ["sentinel/scan/_native.pyx"],
            depends=["sentinel/receive/_native.pxd", *(f"sentinel/scan/native/{part}.pxi" for part in PARTS)],
            extra_compile_args=["-O3"],
        ),
        Extension(
            "sentinel.erspan._native",
            ["sentinel/erspan/_native.pyx"],
            depends=[
                "sentinel/receive/_native.pxd",
                *(f"sentinel/erspan/native/{part}.pxi" for part in ("header", "duplicates", "blocks")),
            ],
        ),
    ]
    return list(cythonize(modules, build_dir="build"))


PARTS = (
    *("octets", "exact", "values", "filters", "tables", "frozen", "health", "flows", "header"),
    *("tunnels", "records", "batch", "admission", "pairs", "lookup", "scan"),
)

setup(ext_modules=extensions())
