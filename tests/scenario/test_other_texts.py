# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""No behaviour hangs on prose: with each sentence of captures, refusals and errors replaced, scenarios still pass."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITES = (
    "tests/scenario/test_capture_queue.py",
    "tests/scenario/test_capture_vantage.py",
    "tests/scenario/test_captures.py",
    "tests/scenario/test_mishaps.py",
    "tests/scenario/test_reconciliation.py",
    "tests/scenario/test_simulation.py::test_one_rule_a_switch_serves_nearly_every_compromised_host_and_little_else",
    "tests/scenario/test_detection_life.py",
    "tests/scenario/test_detection_recordings.py",
    "tests/unit/decide/test_loop.py",
    "tests/unit/scan/test_plain.py",
)


def with_other_texts(*targets: str) -> subprocess.CompletedProcess[str]:
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.support.other_texts"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *targets], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_scenarios_pass_whatever_the_sentences_are() -> None:
    done = with_other_texts(*SUITES)
    assert done.returncode == 0, done.stdout[-5_000:]
    [line] = [line for line in done.stdout.splitlines() if line.startswith("replaced: ")]
    assert {"Capture.note", "Capture.ending_note", "Capture.reason", "Mirror.error", "Refusal.detail"} <= set(
        line.split()
    )
    assert {"InstallFailed.detail", "SwitchFailed.detail"} <= set(line.split())


def test_the_sentences_really_are_others_then() -> None:
    """The very tests that assert them fail, each one."""
    done = with_other_texts("tests/unit/capture/test_texts.py")
    assert done.returncode == 1
    assert " failed" in done.stdout.splitlines()[-1], done.stdout[-2_000:]
    assert " passed" not in done.stdout.splitlines()[-1]
