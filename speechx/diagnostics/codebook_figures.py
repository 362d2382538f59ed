"""Two figures of how languages share the codes: a heat map and a dendrogram.

Both show their controls. The diagonal of the heat map compares the halves of one language. On each
leaf of the dendrogram that distance is a bar, and the distance between speakers is a dot. A
distance that is not clearly longer than the bar is chance; one that is not longer than the dot may
be due to the speakers.

    G groups · V entries · K codes of all groups · L languages
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from speechx.diagnostics.code_sharing import Sharing
from speechx.whole_file import whole_file

INCH_PER_LANGUAGE = 0.27
NUMBERS_UP_TO = 45  # languages; with more, the cells are too small for numbers


def draw_heat_map(sharing: Sharing, path: Path) -> None:
    """Left: divergence of all pairs, in hundredths of a bit. Right: the codes of each language."""
    from matplotlib.colors import PowerNorm
    from scipy.cluster.hierarchy import leaves_list

    order = leaves_list(sharing.tree())
    names = [_label(sharing, list(sharing.uses)[i]) for i in order]
    many = len(names)
    bits_LL = sharing.divergence_LL[np.ix_(order, order)].copy()
    halves = [sharing.uses[list(sharing.uses)[i]].halves for i in order]
    bits_LL[np.diag_indices(many)] = [np.nan if h is None else h for h in halves]

    side = max(INCH_PER_LANGUAGE * many, 3.2)
    figure, (left, right) = _figure((2 * side + 3.2, side + 1.2), columns=2)
    # Colours show the square root, the distance: most languages are close to each other.
    most = max(float(np.nanmax(bits_LL)), 0.01)
    picture = left.imshow(bits_LL, cmap="viridis_r", norm=PowerNorm(0.5, vmin=0, vmax=most))
    left.set_title("divergence in 1/100 bit\non the diagonal: halves of one language", size=9)
    left.set_xticks(range(many), names, rotation=90, size=8)
    left.set_yticks(range(many), names, size=8)
    if many > NUMBERS_UP_TO:
        figure.colorbar(picture, ax=left, location="left", shrink=0.6).set_label("bits", size=8)
    for row, column in np.ndindex(bits_LL.shape) if many <= NUMBERS_UP_TO else ():
        value = bits_LL[row, column]
        left.text(
            column, row, "" if np.isnan(value) else f"{100 * value:.0f}", ha="center", va="center",
            size=6.5, color="white" if picture.norm(value) > 0.6 else "black",
            weight="bold" if row == column else "normal",
        )  # fmt: skip

    even_LK = _shares(sharing)[order] * sharing.entries
    total_K = even_LK.sum(0)
    mean_K = (np.arange(many)[:, None] * even_LK).sum(0) / np.maximum(total_K, 1e-9)
    columns = np.argsort(np.where(total_K > 0, mean_K, many), kind="stable")
    shares = right.imshow(
        even_LK[:, columns], cmap="Blues", vmin=0, vmax=4, aspect="auto", interpolation="nearest"
    )
    right.set_box_aspect(1)
    right.set_title(f"use of the {sharing.groups} x {sharing.entries} codes", size=9)
    right.set_yticks(range(many), names, size=8)
    right.set_xlabel("codes, by the languages that use them; unused ones last", size=8)
    right.tick_params(axis="x", labelsize=7)
    bar = figure.colorbar(shares, ax=[left, right], extend="max", shrink=0.6)
    bar.set_label("times an even share", size=8)
    bar.ax.tick_params(labelsize=7)
    _save(figure, path)


def draw_dendrogram(sharing: Sharing, path: Path) -> None:
    """Average linkage on sqrt(divergence), with the controls of each language on its leaf."""
    from scipy.cluster.hierarchy import dendrogram

    names = list(sharing.uses)
    figure, axes = _figure((7, max(0.22 * len(names), 1.5) + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a collapsed codebook: all distances are 0
        drawn = dendrogram(
            sharing.tree(), labels=[_label(sharing, name) for name in names], orientation="left",
            ax=axes, color_threshold=0, above_threshold_color="black", leaf_font_size=9,
        )  # fmt: skip
    for row, leaf in enumerate(drawn["leaves"]):
        use, y = sharing.uses[names[leaf]], 10 * row + 5  # scipy puts its leaves there
        if use.halves is not None:
            axes.plot([0, np.sqrt(use.halves)], [y, y], color="tab:orange", linewidth=5, alpha=0.6)
        if use.speakers_apart is not None:
            end = np.sqrt(use.speakers_apart)
            axes.plot([0, end], [y, y], ":", color="tab:blue", linewidth=1.2)
            axes.plot(end, y, "o", color="tab:blue", markersize=5)
    controls = [max(u.halves or 0, u.speakers_apart or 0) for u in sharing.uses.values()]
    axes.set_xlim(max(axes.get_xlim()[0], 1.03 * np.sqrt(max(controls)), 0.01), 0)
    axes.set_xlabel("distance: square root of the Jensen-Shannon divergence (bits)", size=9)
    axes.set_title("bar: halves of one language (chance); dot: speakers of one language", size=9)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    _save(figure, path)


def _shares(sharing: Sharing) -> np.ndarray:
    """(L, G·V) shares of the frames, each group summing to 1."""
    counts = np.stack([use.counts_GV for use in sharing.uses.values()])
    return (counts / counts.sum(2, keepdims=True)).reshape(len(counts), -1)


def _label(sharing: Sharing, name: str) -> str:
    return name if sharing.uses[name].steady else f"{name}*"


def _figure(inches: tuple[float, float], columns: int = 1) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(1, columns, figsize=inches, layout="constrained")


def _save(figure: Any, path: Path) -> None:
    """Writes PNG, whole or not at all."""
    from matplotlib import pyplot

    with whole_file(path) as new:
        figure.savefig(new, dpi=150, bbox_inches="tight")
    pyplot.close(figure)
