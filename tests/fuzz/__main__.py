# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes one target for a time, or replays inputs: ``python -m tests.fuzz TARGET [--seconds N] [FILE...]``.

With atheris at hand (libFuzzer for Python) coverage guides it: of Python code, and of extensions that were compiled
for it. Without, or with ``--seeded``, damaged copies of the seeds are tried. ``run.sh`` makes the build that finds
reads out of bounds and starts this. Ends with a traceback and status 1 or 77 at the first finding, whose input is in
``--findings``.
"""

import argparse
import hashlib
import importlib
import importlib.util
import random
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from tests.fuzz.growth import Growth
from tests.fuzz.targets import COVERED

MAX_INPUT_BYTES = 8_192
# One input, with a wide margin for a slow machine.
MAX_INPUT_S = 20
# libFuzzer's own guard, above ours, which says more.
_RSS_LIMIT_MB = 2_048
# Inputs after the seeds (which libFuzzer may run twice) among which there must be one of the target's own making.
_UNMUTATED = 1_000


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one target, or replay inputs.")
    parser.add_argument("target", choices=COVERED)
    parser.add_argument("files", nargs="*", type=Path, help="inputs to replay instead")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()) & 0x7FFFFFFF)
    parser.add_argument("--seeded", action="store_true", help="damaged seeds, although atheris is there")
    parser.add_argument("--corpus", type=Path, help="folder of inputs kept between runs (guided by coverage only)")
    parser.add_argument("--findings", type=Path, default=Path(), help="folder for inputs that failed")
    options = parser.parse_args(arguments)
    if options.files:
        replay(options.target, options.files)
    elif options.seeded or importlib.util.find_spec("atheris") is None:
        seeded(options.target, options.seconds, options.seed, options.findings)
    else:
        guided(options.target, options.seconds, options.seed, options.corpus, options.findings)


def replay(name: str, files: list[Path]) -> None:
    """Each file once, without any fuzzer."""
    target = importlib.import_module(f"tests.fuzz.targets.{name}")
    for file in files:
        target.one(file.read_bytes())
        print(f"{file}: no finding", file=sys.stderr)


def seeded(name: str, seconds: float, seed: int, findings: Path, *, runs: int = sys.maxsize) -> None:
    """The seeds, then damaged copies of them, for so long or so many; the same for the same ``seed``."""
    target = importlib.import_module(f"tests.fuzz.targets.{name}")
    chance, growth = random.Random(seed), Growth()
    known = target.seeds()
    mutate = getattr(target, "mutate", None)
    print(f"{name}: {seconds} s of damaged seeds from seed {seed}, without coverage", file=sys.stderr)
    until, done = time.monotonic() + seconds, 0
    inputs = iter(known)
    while done < runs and time.monotonic() < until:
        data = next(inputs, None)
        if data is None:
            data = chance.choice(known)
            for _ in range(chance.choice((1, 1, 2, 3, 5))):
                data = mutate(data, chance, lambda octets: blended(octets, chance)) if mutate else blended(data, chance)
            data = data[:MAX_INPUT_BYTES]
        try:
            target.one(data)
            growth.check()
        except BaseException:
            file = findings / f"{name}-{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"
            file.write_bytes(data)
            print(f"{name}: the input that failed is {file}", file=sys.stderr)
            raise
        done += 1
    print(f"{name}: {done} inputs, no finding; {growth}", file=sys.stderr)


def blended(octets: bytes, chance: random.Random) -> bytes:
    """One change that knows nothing of what the octets mean."""
    at, kind = chance.randrange(len(octets) + 1), chance.randrange(5)
    if kind == 0:
        return (
            octets[:at] + bytes((chance.choice((0, 1, 4, 0x7F, 0x80, 0xFF, chance.randrange(256))),)) + octets[at + 1 :]
        )
    if kind == 1:
        return octets[:at] + octets[at + chance.randrange(1, 16) :]
    if kind == 2:
        return octets[:at] + octets[at : at + chance.randrange(1, 64)] + octets[at:]
    if kind == 3:
        return octets[:at] + chance.randbytes(chance.randrange(1, 5)) + octets[at:]
    return octets[:at] + (1 << chance.randrange(32)).to_bytes(4) + octets[at + 4 :]


def guided(name: str, seconds: int, seed: int, corpus: Path | None, findings: Path) -> None:
    """libFuzzer, which keeps what reaches further; never returns."""
    import atheris

    # For atheris an empty list is everything.
    covered = COVERED[name]
    with atheris.instrument_imports(include=covered) if covered else nullcontext():
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    growth = Growth()
    seeds, inputs, mutated = target.seeds(), 0, 0

    def one(data: bytes) -> None:
        nonlocal inputs
        inputs += 1
        if hasattr(target, "mutate") and inputs > 2 * len(seeds) + _UNMUTATED and not mutated:
            raise RuntimeError("libFuzzer does not ask the target's own mutator: was it preloaded without atheris's?")
        target.one(data)
        growth.check()

    def mutate(data: bytes, max_size: int, number: int) -> bytes:
        nonlocal mutated
        mutated += 1

        def blend(octets: bytes) -> bytes:
            return bytes(atheris.Mutate(octets, max(len(octets) * 2, 8)))

        return bytes(target.mutate(data, random.Random(number), blend)[:max_size])

    # libFuzzer ends the process: whoever set TMPDIR clears it.
    folder = Path(tempfile.mkdtemp())
    begin = folder / "seeds"
    begin.mkdir()
    for number, data in enumerate(seeds):
        (begin / f"{number:05}").write_bytes(data)
    flags = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MAX_INPUT_BYTES}", "-len_control=0"]
    # Looking for leaks would mean to run most inputs twice; Growth finds them.
    flags += [f"-timeout={MAX_INPUT_S}", f"-rss_limit_mb={_RSS_LIMIT_MB}", "-print_final_stats=1", "-detect_leaks=0"]
    flags.append(f"-artifact_prefix={findings}/{name}-")
    if hasattr(target, "WORDS"):
        words = folder / "words"
        words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.WORDS), "ascii")
        flags.append(f"-dict={words}")
    if corpus is not None:
        corpus.mkdir(parents=True, exist_ok=True)
    kept = folder / "kept" if corpus is None else corpus
    kept.mkdir(exist_ok=True)
    atheris.Setup(
        [f"fuzzing {name}", *flags, str(kept), str(begin)],
        one,
        custom_mutator=mutate if hasattr(target, "mutate") else None,
    )
    atheris.Fuzz()


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word)


if __name__ == "__main__":
    main(sys.argv[1:])
