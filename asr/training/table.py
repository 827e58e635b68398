"""The table on stderr: one line per epoch, and a progress line on a terminal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

from asr.terminal import own_controls, visible
from asr.training.coach import Advice

COLUMNS = (("epoch", 5), ("loss", 8), ("valid", 8), ("WER %", 8), ("CER %", 8), ("frames/s", 9),
           ("wait %", 7), ("minutes", 8))


class EpochTable:
    """Writes the table.

    Args:
        quiet: write nothing.
    """

    def __init__(self, *, quiet: bool = False):
        self.stream = own_controls(sys.stderr)
        self.quiet = quiet
        self.live = not quiet and self.stream.isatty()
        self._started = False
        self._alarm: bool | None = None  # of the epoch before
        self._last = 0.0
        self._epoch_started = time.perf_counter()

    def write(self, text: str) -> None:
        """Write one line of text."""
        if not self.quiet:
            print(("\r\x1b[K" if self.live else "") + visible(text), file=self.stream, flush=True)

    def begin_epoch(self) -> None:
        """Start the clock of the remaining time."""
        self._epoch_started = time.perf_counter()

    def moving(self, done: int, total: int, loss: Callable[[], float]) -> None:
        """Show the progress within an epoch, on a terminal only, five times a second at most."""
        now = time.perf_counter()
        if not self.live or now - self._last < 0.2:
            return
        self._last = now
        eta = (now - self._epoch_started) / done * (total - done)
        print(f"\r\x1b[K  {done}/{total} batches, loss {loss():.3f}, {eta:.0f} s left",
              end="", file=self.stream, flush=True)

    def row(self, record: dict) -> None:
        """Write the line of a finished epoch."""
        if not self._started:
            self.write(" ".join(name.rjust(width) for name, width in COLUMNS))
            self._started = True
        mark = {name: "*" if record["best"] and record["criterion"] == name else " "
                for name in ("wer", "cer")}
        cells = [str(record["epoch"]), f"{record['loss']:.3f}", f"{record['valid_loss']:.3f}",
                 _percent(record["wer"]) + mark["wer"], _percent(record["cer"]) + mark["cer"],
                 f"{record['frames_per_second']:,.0f}", f"{100 * record['data_wait']:.1f}",
                 f"{record['minutes']:.1f}"]
        self.write(" ".join(cell.rjust(width) for cell, (_, width) in
                            zip(cells, COLUMNS, strict=True)))

    def coach(self, advice: Advice, epoch: int) -> None:
        """Write the sentence of the coach, first and whenever an alarm begins or ends."""
        if advice.alarm != self._alarm or epoch == 1:
            self.write(f"  coach: {advice.text}")
        self._alarm = advice.alarm


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
