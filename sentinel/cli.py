# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The command ``sentinel``. Data goes to stdout, everything else to stderr.

Exit status: 0 ok, 1 something was found wrong (a feed, a switch, a recording), 2 usage or configuration.
"""

import os
import sys

import click

import sentinel
from sentinel.commands import captures, demo, lists, recorded, run, selftest
from sentinel.errors import ConfigError, OutsideError
from sentinel.limits import MAX_LOG_MESSAGE_CHARS
from sentinel.texts import quoted


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sentinel.__version__, prog_name="sentinel")
def cli() -> None:
    """Finds compromised machines in sFlow and mirrors exactly their conversations.

    Switches and hosts send sFlow; every sampled address pair is matched against threat feeds; a pair that hits is
    mirrored (ERSPAN) by the switch that saw it, for as long as it matters, to the analyst's Wireshark.

    \b
    Try it:            sentinel demo
    On recordings:     sentinel replay sflow.pcap --feed list.txt
    For real:          sentinel check && sentinel run

    Settings are read from ./sentinel.toml or /etc/sentinel/sentinel.toml, or from what -c names.
    """


for command in (
    run.run,
    run.check,
    selftest.selftest,
    demo.demo,
    recorded.replay,
    recorded.decode,
    recorded.decap,
    lists.lookup,
    lists.feeds,
    captures.captures,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; our own errors become one clear message and an exit status."""
    try:
        # Not standalone, a command's Exit comes back as its status.
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except OutsideError as error:
        click.echo(f"sentinel: {quoted(str(error), MAX_LOG_MESSAGE_CHARS)}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our data went away (`| head`); nothing more can be said to it, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
