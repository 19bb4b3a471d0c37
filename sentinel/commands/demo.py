# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""``demo``: the whole loop on an emulated fabric."""

import click


@click.command()
@click.option("--exit-after", type=click.FloatRange(1), metavar="SECONDS", help="End by itself; Ctrl-C else.")
def demo(exit_after: float | None) -> None:
    """Watch a compromised host being caught on an emulated fabric; needs no privileges and no network.

    Two leaves and a spine send real sFlow, real shims take real rules, mirrored packets arrive as GRE/ERSPAN and end in
    a pcapng file; when the host falls silent the rule goes. The console is served meanwhile.
    """
    # Imported late: the fabric is large, and no other command needs it.
    from sentinel.demo.run import run_demo  # noqa: PLC0415

    raise click.exceptions.Exit(run_demo(exit_after))
