"""How every figure looks and how it is saved: the same colour for a sampler everywhere, the same bytes when drawn again."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image  # matplotlib brings it

from robuststream.records import write_bytes

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C510A")
"""Okabe and Ito's colours, told apart without red-green vision; brown stands for their yellow, too pale for a line."""

BASELINE, REFERENCE = "#222222", "#777777"

STROKES = ("solid", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
"""Once the colours are used up they come again, dashed."""

DPI = 110

_PATH, _NUMBER = re.compile(r'\bd="[^"]*"'), re.compile(r"-?\d+\.\d+")

_STYLE: dict[Any, Any] = {
    "font.sans-serif": ["DejaVu Sans", "Arial"],  # the first comes with matplotlib, so every machine has it
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # journals refuse type 3
    "svg.hashsalt": "robuststream",
    "text.parse_math": False,  # a sampler may be called $x
}


MARKERS = ("", "o", "s", "^")
"""Beside the dashes, so that lines of one colour are told apart where they cross."""

_PLACEBO_STROKES = ((0, (1, 2)), (0, (1, 3.5)), (0, (2, 3)), (0, (3, 4)))


class Look(NamedTuple):
    """Colour, dashes and marker of one sampler; a placebo has its selector's colour, thinly dashed, and hollow markers."""

    color: str
    stroke: Any
    marker: str = ""
    hollow: bool = False


class Who(NamedTuple):
    """An arm as far as its looks depend on it."""

    label: str
    kind: str
    placebo: bool = False


class Drawn(NamedTuple):
    """A figure on disk under the report's `figures/`: its name without ending, what to say of it."""

    name: str
    title: str
    caption: str


class Plan(NamedTuple):
    """A figure that is yet to be drawn, by whatever process."""

    drawn: Drawn
    draw: Callable[[], Figure]


@contextmanager
def styled() -> Iterator[None]:
    """Our style on top of matplotlib's defaults, whatever the user's own settings are; they are back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def looks(arms: Sequence[Who], baseline: str | None) -> dict[str, Look]:
    """A look for every sampler by its kind, so that it is the same in every study; the baseline is black.

    The kinds of `looks.txt` have the place that they have there. Others, and a second arm of one kind, take in turn what the
    study leaves free; a placebo looks like the selector of its kind.
    """
    reserved = {kind: place for place, kind in enumerate(_reserved())}
    places: dict[str, int] = {}
    for who in arms:
        if who.label != baseline and not who.placebo and reserved.get(who.kind, -1) not in {-1, *places.values()}:
            places[who.label] = reserved[who.kind]
    free = (place for place in itertools.count() if place not in set(places.values()))
    for who in arms:
        if who.label != baseline and not who.placebo and who.label not in places:
            places[who.label] = next(free)
    selectors = {who.kind: places[who.label] for who in reversed(arms) if who.label in places}
    found = {who.label: _look(places[who.label]) for who in arms if who.label in places}
    for who in arms:
        if who.placebo:
            found[who.label] = _look(selectors.get(who.kind, reserved.get(who.kind, 0)), placebo=True)
    return {who.label: found.get(who.label, Look(BASELINE, "solid")) for who in arms}


def _look(place: int, placebo: bool = False) -> Look:
    tier = place // len(PALETTE) % len(STROKES)
    stroke = _PLACEBO_STROKES[tier] if placebo else STROKES[tier]
    return Look(PALETTE[place % len(PALETTE)], stroke, MARKERS[tier], hollow=placebo)


def _reserved() -> list[str]:
    """Kinds of samplers in the order of their looks."""
    lines = files("robuststream.reporting").joinpath("looks.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def grid(rows: int, columns: int, size: tuple[float, float], shared: bool = True) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows x columns panels of `size` (width, height) inches each, without pyplot; `shared`: one y-axis a row."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.4), dpi=DPI, layout="constrained")
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False, sharey="row" if shared else "none")]


def drawn_line(axes: Axes, x: Any, y: Any, look: Look) -> Line2D:
    """One sampler's line, with a few markers where its look has them."""
    every = max(1, len(x) // 7)
    face = "white" if look.hollow else look.color
    return axes.plot(
        x, y, color=look.color, linestyle=look.stroke, marker=look.marker, markersize=3.5, markerfacecolor=face, markevery=every
    )[0]


def legend(figure: Figure, handles: dict[str, Any], columns: int) -> None:
    """One for all panels, below them. Texts are set afterwards, since matplotlib hides labels that begin with _."""
    legend = figure.legend(list(handles.values()), ["-"] * len(handles), loc="outside lower center", ncols=columns)
    for text, label in zip(legend.get_texts(), handles, strict=True):
        text.set_text(label)


def save(figure: Figure, name: str, folder: Path, pdf: bool) -> None:
    """As PNG and SVG, and as PDF on demand; small, without a date or a version in any."""
    canvas, drawing, small = FigureCanvasAgg(figure), io.BytesIO(), io.BytesIO()
    canvas.draw()
    figure.set_layout_engine("none")  # it is laid out, for all formats; `savefig` would lay out and draw each of them twice
    # A palette takes a third of the bytes. The octree keeps lines and areas; a median cut merges a thin line with another.
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    palette = pixels.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette.save(small, format="png", optimize=True)
    write_bytes(folder / f"{name}.png", small.getvalue())
    FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None, "Creator": None})
    write_bytes(folder / f"{name}.svg", _PATH.sub(_rounded, drawing.getvalue().decode()).encode())
    if pdf:
        printed = io.BytesIO()
        figure.savefig(printed, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
        write_bytes(folder / f"{name}.pdf", printed.getvalue())


def _rounded(path: re.Match[str]) -> str:
    """Coordinates of a path to a hundredth of a point: half the bytes, no visible difference."""
    return _NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), path[0])


def file_name(label: str) -> str:
    """A label as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", label).strip("-.")
