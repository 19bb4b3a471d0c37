# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The compiled scan inherits every test of its plain twin: the same functions, run with its classes."""

import importlib.util
import types
from typing import Any

import pytest

from tests.support import twins
from tests.unit.scan import test_plain, test_plain_fuzz

if importlib.util.find_spec("sentinel.scan._native") is None:
    pytest.skip("the compiled scan was not built", allow_module_level=True)

NATIVE = twins.native()


def inherited(module: types.ModuleType) -> dict[str, Any]:
    """The module's tests over the compiled scan; what else it defines is taken along."""
    scope = {**vars(module), "PlainScan": NATIVE.NativeScan, "AgentTable": NATIVE.Health}
    for name, value in list(scope.items()):
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            copy = types.FunctionType(value.__code__, scope, name, value.__defaults__, value.__closure__)
            copy.__dict__.update(value.__dict__)
            copy.__kwdefaults__, copy.__annotations__ = value.__kwdefaults__, value.__annotations__
            copy.__module__ = __name__
            scope[name] = copy
    return {name: value for name, value in scope.items() if name.startswith("test_")}


INHERITED = inherited(test_plain) | inherited(test_plain_fuzz)
globals().update(INHERITED)


def test_the_twins_tests_run_over_the_compiled_scan() -> None:
    assert len(INHERITED) > 15
    assert all(test.__globals__["PlainScan"] is NATIVE.NativeScan for test in INHERITED.values())
