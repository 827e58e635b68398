"""The options that say which recordings a command takes, the same at every verb."""

from __future__ import annotations

import click

truncated_option = click.option(
    "--allow-truncated", is_flag=True, help="Use what is left of a cut recording, with a warning "
    "and a count, not an error.")
