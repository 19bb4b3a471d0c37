# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The drivers: one row here and one package each.

A package has two modules that are found by name. ``settings`` has ``SECTION``, a ``Section``; ``driver`` has
``make(settings, clock)``, which returns the ``Driver``. Both are imported only when they are needed, so an installation
may leave packages out: the switch's zipapp has ``cumulus`` alone.
"""

import importlib
import importlib.util
from typing import Dict

from switch_acl_api.clock import BootClock
from switch_acl_api.drivers.base import Driver
from switch_acl_api.settings import Section, Settings

DRIVERS: Dict[str, str] = {
    "cumulus": "switch_acl_api.drivers.cumulus",
    "linux": "switch_acl_api.drivers.linux",
    "ovs": "switch_acl_api.drivers.ovs",
    "emulated": "switch_acl_api.drivers.emulated",
}


def is_installed(name: str) -> bool:
    """Return whether the package of this driver is part of the installation; nothing of it is imported."""
    return importlib.util.find_spec(DRIVERS[name]) is not None


def section_of(name: str) -> Section:
    """Return the driver's section of the settings file. Raises ``ImportError`` if the driver is not installed."""
    section: Section = importlib.import_module(DRIVERS[name] + ".settings").SECTION
    return section


def make_driver(settings: Settings, clock: BootClock) -> Driver:
    """Return the configured driver, not started."""
    driver: Driver = importlib.import_module(DRIVERS[settings.driver] + ".driver").make(settings, clock)
    return driver
