# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The notion of a component, and the list of them that a daemon is.

A component turns the settings of one concern and its stages into a running thing. Its constructor reads what
the settings name and builds; between ``start`` and ``stop`` it runs. What others want to hear of it, they append to the
lists it offers (``on_…``) before the start; it calls them in the thread that noticed the thing,
so they must be quick and safe to call from several.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from sentinel.problems import Problem
from sentinel.pulse import Pulse
from sentinel.readings import Reading


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is done every so often, never twice at a time; ``at_start``: at once, too.

    ``promise``: a promise is broken if it is late. Such a job goes by the monotonic clock; others are slow and go by
    the wall clock. ``name`` is a literal of the program and a metric's label.
    """

    name: str
    every_s: float
    run: Callable[[], None]
    at_start: bool = False
    promise: bool = False


class Component:
    """The parts that a component may offer; the defaults offer nothing."""

    def start(self) -> None:
        """Begin; raises ``OSError`` or a ``SentinelError`` if that is impossible, and has then left nothing behind."""

    def stop(self) -> None:
        """End; called once after each ``start`` that succeeded. Returns when its threads have ended."""

    def jobs(self) -> Iterable[Job]:
        """Return what is to be done every so often while it runs."""
        return ()

    def readings(self) -> Iterable[Reading]:
        """Return its metrics, each as it is now. Called from any thread."""
        return ()

    def problems(self) -> Iterable[Problem]:
        """Return what is wrong now. Called from any thread."""
        return ()

    def pulses(self) -> Iterable[Pulse]:
        """Return the signs of life of its threads."""
        return ()


class Lifecycle:
    """Starts components in order and stops them in reverse."""

    def __init__(self, components: Sequence[Component]) -> None:
        self._components = tuple(components)
        self._running = ExitStack()

    def start(self) -> None:
        """Start all; if one cannot start, stop those before it and raise its error."""
        with ExitStack() as started:
            for component in self._components:
                component.start()
                started.callback(component.stop)
            self._running = started.pop_all()

    def stop(self) -> None:
        """Stop what runs; an error of one does not keep the others from being stopped."""
        self._running.close()
