"""The curves of a run, and what they are compared with.

Shaded: the range of healthy runs of ours, stretched to the length of this run. Dashed: a level such
as chance. Vertical lines: findings, with their codes.
"""

import math
from pathlib import Path
from textwrap import wrap
from typing import Any

from speechx.diagnostics.run_log import Curve, RunRecord
from speechx.objectives.objective import Panel


def draw(run: RunRecord, path: Path) -> None:
    """All panels, as PNG or as what the name of `path` ends in."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = run.panels()
    rows = max(min(2, len(panels)), math.ceil(len(panels) / 4))
    columns = math.ceil(len(panels) / rows)
    figure = Figure(figsize=(5 * columns, 4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    marks = {(f.step, f.code) for f in run.findings} | {
        (event["step"], event["code"]) for event in run.events if "code" in event
    }
    for number, (panel, curves) in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, number)
        for curve in curves:
            _draw_curve(axes, curve, run.steps)
        _draw_level(axes, panel, run.steps)
        for step, code in sorted(marks):
            axes.axvline(step, color="tab:red", linewidth=1)
            axes.annotate(
                code, (step, 1), xycoords=("data", "axes fraction"), color="tab:red", size=7,
                rotation=90, ha="right", va="top",
            )  # fmt: skip
        axes.set_title(panel.title, size=10)
        axes.set_xlim(0, run.steps)
        axes.tick_params(which="both", labelsize=8)
        axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, loc="best")
        else:
            axes.annotate("not in the log", (0.5, 0.5), xycoords="axes fraction", ha="center")
    figure.suptitle(f"{run.folder}: {run.name}, step {run.step} of {run.steps}", size=11)
    about = ". ".join(["optimiser step", *(f"Shaded: {text}" for text in run.measured_on())])
    figure.supxlabel("\n".join(wrap(about, 60 * columns)), size=7.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _draw_curve(axes: Any, curve: Curve, steps: int) -> None:
    colour = None
    if curve.points:
        few = "o" if len(curve.points) < 40 else None
        (line,) = axes.plot(
            *zip(*curve.points, strict=True), marker=few, markersize=2.5, linewidth=1.2,
            label=curve.key.split("/")[-1],
        )  # fmt: skip
        colour = line.get_color()
    if band := curve.band:
        axes.fill_between(
            [share * steps for share in band.at], band.low, band.high, color=colour or "grey",
            alpha=0.15, linewidth=0,
        )  # fmt: skip


def _draw_level(axes: Any, panel: Panel, steps: int) -> None:
    match panel.scale:
        case "from zero":
            axes.set_ylim(bottom=0)
        case "share":
            axes.set_ylim(0, 1)
        case "logarithmic":
            axes.set_yscale("log")
    if panel.level is not None:
        level = panel.shown_level
        if panel.scale == "logarithmic" and not axes.get_lines():
            axes.set_ylim(level / 10, level * 10)  # a line alone has no limits of its own
        axes.axhline(level, color="black", linestyle="--", linewidth=1)
        name = f"{panel.level_name} {level:.4g}"
        axes.annotate(name, (steps, level), size=7, ha="right", va="bottom")
