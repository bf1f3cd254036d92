"""The comparison as one picture: three panels, vector or pixels by the file's name."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.engine_measure import Spread, median_ratio, spread
from bench.engine_plan import HEADLINE_CHARACTERS, THROUGHPUT_CONCURRENCY
from bench.engine_run import ALONE, OURS, STOCK, EngineRun
from bench.errors import UsageError
from bench.files import check_writable, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".png")

# Okabe and Ito's palette: told apart with every colour vision, and by marker and brightness in grey.
_COLOURS = {OURS: "#0072B2", STOCK: "#D55E00", ALONE: "#7F7F7F"}
_MARKERS = {OURS: "o", STOCK: "s"}
_NAMES = {OURS: "this engine", STOCK: "stock piper-tts", ALONE: "onnxruntime\nalone"}
_INCHES = (12.0, 4.4)
_DPI = 150


def check_plot(path: Path) -> None:
    """Raise UsageError now, rather than after the run, where no picture can be written to ``path``."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {path}: the name must end in {' or '.join(SUFFIXES)}")
    check_writable(path, "--plot")


def write_plot(path: Path, result: EngineRun, machine: str) -> None:
    """Draw TTFA over length and over callers, and the throughput, titled with ``machine``."""
    # Takes a second to import, and no other command draws.
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot

    figure, (lengths, callers, throughput) = pyplot.subplots(
        1, 3, figsize=_INCHES, width_ratios=(3, 3, 2), layout="constrained"
    )
    figure.suptitle(f"Speech engine against stock piper-tts and onnxruntime alone\n{machine}", fontsize=11)
    _draw_lengths(lengths, result)
    _draw_callers(callers, result)
    _draw_throughput(throughput, result)
    figure.legend(*lengths.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=_DPI)
    pyplot.close(figure)
    write_atomically(path, picture.getvalue())


def _draw_lengths(axes: Axes, result: EngineRun) -> None:
    axes.set_title("One caller")
    axes.set_xlabel("sentence, characters")
    _draw_times(axes, {server: _cells(result, server, concurrency=1) for server in (OURS, STOCK)})


def _draw_callers(axes: Axes, result: EngineRun) -> None:
    axes.set_title(f"Callers back to back, {HEADLINE_CHARACTERS} characters")
    axes.set_xlabel("callers at a time")
    _draw_times(axes, {server: _cells(result, server, HEADLINE_CHARACTERS) for server in (OURS, STOCK)})


def _cells(
    result: EngineRun, server: str, characters: int | None = None, concurrency: int | None = None
) -> list[tuple[int, Spread]]:
    """What varies, and its TTFA, in order: callers where ``characters`` is given, else characters."""
    found = []
    for key in result.cells:
        name, length, callers = key
        cell = result.spread(*key)
        if name == server and cell and characters in (None, length) and concurrency in (None, callers):
            found.append((length if characters is None else callers, cell))
    return sorted(found, key=lambda pair: pair[0])


def _draw_times(axes: Axes, cells: dict[str, list[tuple[int, Spread]]]) -> None:
    if not any(cells.values()):
        return
    for server, points in cells.items():
        x = [value for value, _ in points]
        p50, p95 = [cell.p50 for _, cell in points], [cell.p95 for _, cell in points]
        look: dict[str, Any] = {"color": _COLOURS[server], "marker": _MARKERS[server], "markersize": 5}
        axes.plot(x, p50, label=f"{_NAMES[server]}, p50", **look)
        axes.plot(x, p95, label=f"{_NAMES[server]}, p95", linestyle="--", markerfacecolor="white", **look)
    axes.set_ylabel("time to first audio, ms")
    _log_scales(axes, {value for points in cells.values() for value, _ in points})


def _log_scales(axes: Axes, ticks: Iterable[int]) -> None:
    """Both axes logarithmic, with the measured values and plain numbers as ticks."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted(ticks), [str(value) for value in sorted(ticks)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_throughput(axes: Axes, result: EngineRun) -> None:
    pairs = result.throughput
    quotient = median_ratio(pairs)
    told = "" if quotient is None else f": {quotient:.2f} of the limit"
    axes.set_title(f"Throughput{told}")
    rates = {
        OURS: spread(pair.ours.per_s for pair in pairs),
        ALONE: spread(pair.alone.per_s for pair in pairs),
    }
    for place, (server, rate) in enumerate(rates.items()):
        if rate is None:
            continue
        reach = [[rate.p50 - rate.min], [rate.max - rate.p50]]
        axes.bar(place, rate.p50, 0.6, color=_COLOURS[server], yerr=reach, capsize=4, ecolor="#333333")
        look: dict[str, Any] = {"ha": "center", "color": "white", "weight": "bold"}
        axes.annotate(f"{rate.p50:.1f}", (place, 0), (0, 6), textcoords="offset points", **look)
    axes.set_xticks(range(len(rates)), [_NAMES[server] for server in rates])
    axes.set_xlim(-0.6, len(rates) - 0.4)
    axes.set_xlabel(f"{THROUGHPUT_CONCURRENCY} callers, mixed lengths")
    axes.set_ylabel("audio s per s: median, lowest, highest")
