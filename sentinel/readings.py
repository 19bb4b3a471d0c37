# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Readings: figures of the running program, and how a stage's counters become such."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Literal

Kind = Literal["counter", "gauge"]
# Name, labels, value, kind and help text, in this order.
Reading = tuple[str, Mapping[str, str], float, Kind, str]


def counters(stage: str, source: object, label: str = "reason", **labels: str) -> Iterator[Reading]:
    """Read the whole-number attributes of a stage's counters object as ``sentinel_<stage>_<attribute>_total``.

    A mapping among them becomes one series per key, under ``label``; ``labels`` stand on all of them. Attributes that
    begin with ``_`` are left out.
    """
    for name in _attributes(source):
        value = getattr(source, name)
        metric = f"sentinel_{stage}_{name}_total"
        text = f"{stage}: {name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            # A copy at once: the stage goes on counting in its own thread.
            for key, count in dict(value).items():
                yield metric, {**labels, label: str(key)}, float(count), "counter", text
        elif isinstance(value, int) and not isinstance(value, bool):
            yield metric, labels, float(value), "counter", text


def _attributes(source: object) -> Iterable[str]:
    if is_dataclass(source):
        names = [each.name for each in fields(source)]
    else:
        slots = getattr(type(source), "__slots__", ())
        names = list(slots) if slots else list(vars(source))
    return [name for name in names if not name.startswith("_")]
