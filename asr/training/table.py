"""The live table on stderr: one line an epoch, and a moving line while one is under way."""

from __future__ import annotations

import sys
import time

COLUMNS = (("epoch", 5), ("loss", 8), ("valid", 8), ("WER %", 8), ("CER %", 8), ("frames/s", 9),
           ("wait %", 7), ("minutes", 8))


class EpochTable:
    """Writes the table.

    Args:
        stream: stderr if None.
        quiet: write nothing.
    """

    def __init__(self, stream=None, *, quiet: bool = False):
        self.stream = sys.stderr if stream is None else stream
        self.quiet = quiet
        self.live = not quiet and self.stream.isatty()
        self._started = False
        self._verdict = ""
        self._last = 0.0
        self._epoch_started = time.perf_counter()

    def write(self, text: str) -> None:
        """One line of text."""
        if not self.quiet:
            print(("\r\x1b[K" if self.live else "") + text, file=self.stream, flush=True)

    def begin_epoch(self) -> None:
        """The clock of the ETA starts."""
        self._epoch_started = time.perf_counter()

    def moving(self, done: int, total: int, loss: float) -> None:
        """Progress within an epoch, on a terminal only."""
        now = time.perf_counter()
        if not self.live or now - self._last < 0.2:
            return
        self._last = now
        eta = (now - self._epoch_started) / done * (total - done)
        print(f"\r\x1b[K  {done}/{total} batches, loss {loss:.3f}, {eta:.0f} s left",
              end="", file=self.stream, flush=True)

    def row(self, record: dict) -> None:
        """One finished epoch."""
        if not self._started:
            self.write(" ".join(name.rjust(width) for name, width in COLUMNS))
            self._started = True
        wer = _percent(record["wer"])
        cells = [str(record["epoch"]), f"{record['loss']:.3f}", f"{record['valid_loss']:.3f}",
                 wer + ("*" if record["best"] else " "), _percent(record["cer"]),
                 f"{record['frames_per_second']:,.0f}", f"{100 * record['data_wait']:.1f}",
                 f"{record['minutes']:.1f}"]
        self.write(" ".join(cell.rjust(width) for cell, (_, width) in
                            zip(cells, COLUMNS, strict=True)))


    def coach(self, text: str, epoch: int) -> None:
        """The plateau coach's sentence, when it changes its mind."""
        verdict = text.split(":")[0]
        if verdict != self._verdict or epoch == 1:
            self.write(f"  coach: {text}")
        self._verdict = verdict


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
