"""The curves of a run with what they are held against.

Shaded: the range of healthy runs of ours, stretched to the length of this run. Dashed: chance level
and the floor of collapse. Upright: findings, with their codes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import Any

from speechx.run_log import Run


def draw(run: Run, path: Path) -> None:
    """Two rows of panels, as PNG or whatever the name of `path` ends in."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _finetuning(run) if run.monitor.contrast is None else _pretraining(run)
    bands, columns = run.bands(), len(panels) // 2
    figure = Figure(figsize=(5 * columns, 8), layout="constrained")
    FigureCanvasAgg(figure)
    marks = {(f.step, f.code) for f in run.findings} | {
        (event["step"], event["code"]) for event in run.events if "code" in event
    }
    for place, (title, keys, extra) in enumerate(panels, 1):
        axes = figure.add_subplot(2, columns, place)
        for key in keys:
            _curve(axes, run, key, bands)
        extra(axes)
        for step, code in sorted(marks):
            axes.axvline(step, color="tab:red", linewidth=1)
            axes.annotate(
                code, (step, 1), xycoords=("data", "axes fraction"), color="tab:red", size=7,
                rotation=90, ha="right", va="top",
            )  # fmt: skip
        axes.set_title(title, size=10)
        axes.set_xlim(0, run.steps)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, loc="best")
        else:
            axes.annotate("not in the log", (0.5, 0.5), xycoords="axes fraction", ha="center")
    figure.suptitle(f"{run.folder}: {run.kind}, step {run.step} of {run.steps}", size=11)
    about = "\n".join(wrap(f"optimiser step. Shaded: {bands['measured_on']}", 60 * columns))
    figure.supxlabel(about, size=7.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


Panel = tuple[str, list[str], Callable[[Any], None]]


def _pretraining(run: Run) -> list[Panel]:
    contrast, health = run.monitor.contrast, run.monitor.health
    assert contrast is not None
    floor = min(health.codes, contrast.entries / 4) / contrast.entries

    def chance(axes: Any) -> None:
        bits = contrast.chance()
        axes.axhline(bits, color="black", linestyle="--", linewidth=1)
        axes.annotate(f"chance {bits:.3f}", (run.steps, bits), size=7, ha="right", va="bottom")

    def collapse(axes: Any) -> None:
        axes.axhline(floor, color="black", linestyle="--", linewidth=1)
        axes.annotate("collapse", (run.steps, floor), size=7, ha="right", va="bottom")
        axes.set_ylim(0, 1)

    languages = _keys(run, "valid_bits/")
    return [
        ("loss, bits per masked frame", ["bits", "valid_bits", "chance_bits"], chance),
        ("accuracy", ["accuracy", "valid_accuracy"], _from_zero),
        (f"perplexity, share of {contrast.possible} codes", ["code_perplexity", "soft_perplexity"],
         collapse),
        ("negatives equal to the positive", ["negatives_equal_positive"], _from_zero),
        ("validation, bits per language", languages, chance),
        ("gradient norm", ["gradient_norm", "quantizer_gradient"], _logarithmic),
    ]  # fmt: skip


def _finetuning(run: Run) -> list[Panel]:
    blank = run.monitor.health.blank

    def plateau(axes: Any) -> None:
        axes.axhline(blank, color="black", linestyle="--", linewidth=1)
        axes.annotate("blank plateau", (run.steps, blank), size=7, ha="right", va="top")

    return [
        ("loss, nats per unit", ["loss"], _from_zero),
        ("frames read as blank", ["blank_share"], plateau),
        ("error rate on dev", _keys(run, "dev_"), _from_zero),
        ("gradient norm", ["gradient_norm"], _logarithmic),
    ]


def _curve(axes: Any, run: Run, key: str, bands: dict[str, Any]) -> None:
    points = [(line["step"], run.share(key, line[key])) for line in run.lines if key in line]
    colour = None
    if points:
        steps, values = zip(*points, strict=True)
        few = "o" if len(points) < 40 else None
        name = key.split("/")[-1]
        (curve,) = axes.plot(steps, values, marker=few, markersize=2.5, linewidth=1.2, label=name)
        colour = curve.get_color()
    if key in bands:
        at = [share_of_run * run.steps for share_of_run in bands["at"]]
        axes.fill_between(
            at,
            bands[key]["low"],
            bands[key]["high"],
            color=colour or "grey",
            alpha=0.15,
            linewidth=0,
        )


def _keys(run: Run, start: str) -> list[str]:
    """Logged keys that begin so, in the order of their names."""
    return sorted({key for line in run.lines for key in line if key.startswith(start)})


def _from_zero(axes: Any) -> None:
    axes.set_ylim(bottom=0)


def _logarithmic(axes: Any) -> None:
    axes.set_yscale("log")
    axes.tick_params(which="both", labelsize=8)
