"""A view as a picture for a slide or a lecture: PNG, SVG or PDF, by matplotlib.

In: a `View`. Out: the bytes of the file. matplotlib is an extra; it is imported when a
picture is drawn, and without pyplot, so that no window, backend or global style is touched.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.errors import UsageError
from asr.inspection.view import (
    DYNAMIC_RANGE,
    PANELS,
    Panel,
    View,
    label_name,
    loudness,
    shown_labels,
)
from asr.pages.frame import visible
from asr.transcript import Word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

FORMATS = ("png", "svg", "pdf")
DPI = 150
# Perceptually ordered, and readable with any colour vision: one for sound, one for 0 .. 1, one
# with a neutral middle for values around 0.
SOUND, SHARE, SIGNED = "magma", "viridis", "RdBu_r"
INCHES_A_STEP = 0.13  # of an output frame, so that a decoded character has room
MIN_WIDTH, MAX_STEPS = 13.0, 500  # inches; output frames
SOUND_INCHES, ROW_INCHES, MIN_PANEL, LABEL_INCHES = 1.7, 0.058, 0.6, 0.15
LEFT, RIGHT, BETWEEN = 0.85, 0.95, 0.36  # inches beside the panels and between them, for titles
INK, SOFT = "#1c1d20", "#5d626b"
MEL_TICKS = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000)  # Hz


def picture(view: View, *, clip: str, bundle: str, format: str = "png") -> bytes:  # noqa: A002
    """Log-mel, gates, memory, output and CTC posteriors on one time axis.

    Args:
        view: from `choose`.
        clip, bundle: names for the title.
        format: one of FORMATS.

    Raises:
        UsageError: an unknown format, a time too long to draw, or matplotlib is not installed.
    """
    if format not in FORMATS:
        raise UsageError(f"There is no picture format {format!r}; choose one of "
                         f"{', '.join(FORMATS)}.")
    first, last = view.span
    if (last - first) / view.inspection.seconds_per_frame > MAX_STEPS:
        raise UsageError(f"A picture of {last - first:.1f} s is too wide to be read; draw "
                         f"{MAX_STEPS * view.inspection.seconds_per_frame:g} s at most, such as "
                         "--seconds 0-10, or write a page (.html), which scrolls.")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("A picture needs matplotlib, which is not installed: pip install "
                         "\"keras-asr[plot]\". A page (.html) needs nothing.") from error
    with warnings.catch_warnings(), matplotlib.rc_context(_STYLE):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # shown as a box
        figure = _draw(view, Figure, clip, bundle)
        file = io.BytesIO()
        # No date inside: the same inspection gives the same bytes.
        figure.savefig(file, format=format, dpi=DPI,
                       metadata={"png": {}, "svg": {"Date": None},
                                 "pdf": {"CreationDate": None}}[format])
    return file.getvalue()


_STYLE: dict[Any, Any] = {
    "font.family": ["sans-serif"], "font.size": 10.0, "text.parse_math": False,
    "axes.titlesize": 10.5, "axes.titlelocation": "left", "axes.titlepad": 5.0,
    "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT, "text.color": INK,
    "axes.edgecolor": "#9a9ea6", "axes.linewidth": 0.6, "axes.unicode_minus": True,
    "svg.hashsalt": "asr", "svg.fonttype": "path"}


def _draw(view: View, figure_class: type[Figure], clip: str, bundle: str) -> Figure:
    inspection = view.inspection
    labels = shown_labels(inspection)
    first, last = view.span
    width = max(MIN_WIDTH, LEFT + RIGHT
                + INCHES_A_STEP * (last - first) / inspection.seconds_per_frame)
    cells = max(MIN_PANEL, ROW_INCHES * len(view.units))
    heights = [SOUND_INCHES, *[cells] * len(PANELS), max(1.2, LABEL_INCHES * len(labels))]
    gaps = [1.45, *[BETWEEN] * len(PANELS), BETWEEN + 0.2]  # above each; the last has characters
    caption = textwrap.wrap(" ".join(view.how_to_read()), int(14.5 * (width - LEFT - RIGHT)))
    height = sum(heights) + sum(gaps) + 0.8 + 0.19 * len(caption)
    figure = figure_class(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("none")  # places are computed here, whatever the user's settings say
    axes, bars, y = [], [], height
    for tall, gap in zip(heights, gaps, strict=True):
        y -= tall + gap
        axes.append(figure.add_axes((LEFT / width, y / height, 1 - (LEFT + RIGHT) / width,
                                     tall / height)))
        bars.append(figure.add_axes((1 - (RIGHT - 0.13) / width, y / height, 0.13 / width,
                                     tall / height)))
    _sound(axes[0], bars[0], view)
    trace = view.trace
    for axis, bar, panel in zip(axes[1:-1], bars[1:-1], PANELS, strict=True):
        _cells(axis, bar, panel, getattr(trace, panel.name), view)
    _posteriors(axes[-1], bars[-1], view, labels)
    for axis in axes:
        axis.set_xlim(first, last)
        for word in _within(inspection.transcript.words, view):
            # White dashes on dark: visible on any colour.
            axis.axvline(word.start, color="black", linewidth=0.9, alpha=0.55)
            axis.axvline(word.start, color="white", linewidth=0.9, linestyle=(0, (4, 4)))
        axis.tick_params(length=2.5, labelbottom=axis is axes[-1])
    axes[-1].set_xlabel("time in seconds")

    def write(text: str, inches: float, **style) -> None:
        figure.text(LEFT / width, inches / height, text, **style)

    write(view.headline(), height - 0.4, fontsize=18 if len(view.headline()) < 60 else 12,
          fontweight="bold", va="center")
    write(f"{visible(clip)}, heard by {visible(bundle)}.  {view.which()}.", height - 0.75,
          color=SOFT, va="center")
    write("\n".join(caption), 0.15, va="bottom", linespacing=1.35, fontsize=9.5)
    return figure


def _within(words: Iterable[Word], view: View) -> list[Word]:
    """Those that begin inside the time that is drawn."""
    first, last = view.span
    return [word for word in words if first <= word.start < last]


def _sound(axis: Axes, bar: Axes, view: View) -> None:
    inspection = view.inspection
    levels = loudness(inspection)
    step = inspection.seconds_per_feature_frame
    image = axis.imshow(levels.T, origin="lower", aspect="auto", cmap=SOUND,
                        vmin=-DYNAMIC_RANGE, vmax=0.0, interpolation="nearest",
                        extent=(-step / 2, (len(levels) - 0.5) * step, -0.5,
                                levels.shape[1] - 0.5))
    title = axis.set_title("Sound", fontweight="bold", pad=19)
    axis.annotate("  log-mel energies, in dB below the loudest; above them the decoded words",
                  (1, 0), xycoords=title, va="bottom", color=SOFT)
    for word in _within(inspection.transcript.words, view):
        axis.annotate(visible(word.text), (word.start, 1.0), xycoords=("data", "axes fraction"),
                      xytext=(0, 4), textcoords="offset points", fontsize=11, fontweight="bold")
    frequencies = inspection.mel_frequencies
    ticks = [f for f in MEL_TICKS if frequencies[0] <= f <= frequencies[-1]]
    axis.set_yticks(np.interp(ticks, frequencies, np.arange(len(frequencies))),
                    [f"{f / 1000:g}" for f in ticks])
    axis.set_ylabel("kHz, mel scale")
    _bar(bar, image, "dB", [-DYNAMIC_RANGE, -DYNAMIC_RANGE / 2, 0.0])


def _cells(axis: Axes, bar: Axes, panel: Panel, array: np.ndarray, view: View) -> None:
    high = view.memory_limit if panel.kind == "memory" else 1.0
    low = 0.0 if panel.kind == "gate" else -high
    image = axis.imshow(array.T, aspect="auto", cmap=SHARE if panel.kind == "gate" else SIGNED,
                        vmin=low, vmax=high, interpolation="nearest",
                        extent=(view.inspection.start, view.inspection.end,
                                len(view.units) - 0.5, -0.5))
    title = axis.set_title(f"{panel.title} {panel.symbol}", fontweight="bold")
    axis.annotate(f"  {panel.meaning}", (1, 0), xycoords=title, va="bottom", color=SOFT)
    every = -(-len(view.units) // 8)
    axis.set_yticks(range(0, len(view.units), every), map(str, view.units[::every]), fontsize=7.5)
    axis.set_ylabel("cell")
    beyond = panel.kind == "memory" and bool(np.abs(array).max() > high)
    _bar(bar, image, panel.symbol, [low, high] if panel.kind == "gate" else [low, 0.0, high],
         beyond)


def _posteriors(axis: Axes, bar: Axes, view: View, labels: list[int]) -> None:
    inspection = view.inspection
    array = inspection.posteriors[:, labels]
    image = axis.imshow(array.T, aspect="auto", cmap=SHARE, vmin=0.0, vmax=1.0,
                        interpolation="nearest",
                        extent=(inspection.start, inspection.end, len(labels) - 0.5, -0.5))
    title = axis.set_title("CTC posteriors", fontweight="bold", pad=17)
    axis.annotate("  probability of each character and of the blank; above them the decoded "
                  "characters", (1, 0), xycoords=title, va="bottom", color=SOFT)
    axis.set_yticks(range(len(labels)), [visible(label_name(inspection.labels[v]))
                                         for v in labels], fontsize=8)
    axis.set_ylabel("label")
    for character in _within(inspection.characters, view):
        if not character.text.isspace():
            axis.annotate(visible(character.text), ((character.start + character.end) / 2, 1.0),
                          xycoords=("data", "axes fraction"), xytext=(0, 3),
                          textcoords="offset points", ha="center", fontsize=10,
                          fontweight="bold", annotation_clip=False)
    _bar(bar, image, "P", [0.0, 1.0])


def _bar(bar: Axes, image: AxesImage, symbol: str, ticks: list[float],
         beyond: bool = False) -> None:
    """The colours and their values, in a narrow axis of its own."""
    bar.figure.colorbar(image, cax=bar, ticks=ticks)
    bar.set_title(symbol, fontsize=8, loc="left", pad=3, color=SOFT)
    texts = [f"{tick:g}".replace("-", "−") for tick in ticks]
    if beyond:  # some values lie further out than the last colour
        texts = ["≤ " + texts[0], *texts[1:-1], "≥ " + texts[-1]]
    bar.set_yticks(ticks, texts, fontsize=8)
    bar.tick_params(length=2)
