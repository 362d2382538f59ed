"""The figure of an analysis of layers: accuracies of probes, and errors of ABX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechx.whole_file import whole_file


def draw_layers(
    layers: Sequence[int],
    accuracy: Mapping[str, Sequence[float]],
    error: Mapping[str, Sequence[float]],
    about: Mapping[str, Mapping[str, Any]],
    path: Path,
) -> None:
    """Left: accuracy of each probe, chance dashed. Right: error of ABX. As PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    sides = [side for side in (("accuracy", accuracy), ("ABX error", error)) if side[1]]
    figure = Figure(figsize=(5 * len(sides), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, curves) in enumerate(sides, 1):
        axes = figure.add_subplot(1, len(sides), number)
        for name, values in curves.items():
            (line,) = axes.plot(layers, [100 * v for v in values], "o-", markersize=3, label=name)
            if "chance" in about.get(name, {}):
                level = 100 * about[name]["chance"]
                axes.axhline(level, color=line.get_color(), linestyle="--", linewidth=0.8)
        most = max(value for values in curves.values() for value in values)
        axes.set_ylim(0, 100 if title == "accuracy" else 110 * max(most, 0.01))
        axes.set_title(f"{title} in %", size=10)
        axes.set_xlabel("layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    with whole_file(path) as new:
        figure.savefig(new, dpi=110)
