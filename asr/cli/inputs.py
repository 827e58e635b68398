"""The option that says what becomes of cut recordings, the same at every verb."""

from __future__ import annotations

import click

TRUNCATED_HELP = ("Use what is left of a cut recording, with a warning and a count, not as an "
                  "error.")

truncated_option = click.option("--allow-truncated", is_flag=True, help=TRUNCATED_HELP)
