"""Options about the recordings that a command reads, the same at every verb."""

from __future__ import annotations

from pathlib import Path

import click

TRUNCATED_HELP = ("Use what is left of a cut recording, with a warning and a count, not as an "
                  "error.")

truncated_option = click.option("--allow-truncated", is_flag=True, help=TRUNCATED_HELP)
audio_root_option = click.option(
    "--audio-root", type=click.Path(path_type=Path), envvar="ASR_AUDIO_ROOT",
    help="Folder that holds the audio when it is not beside the manifest.")
outside_root_option = click.option("--allow-outside-root", is_flag=True,
                                   help="Accept audio anywhere.")
