"""What an edit changed, as a picture."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from game.red.lab import Change, Preview

BLUE, RED, GREY = "#0072b2", "#d55e00", "#999999"


def edit_png(preview: Preview) -> bytes:
    """Change by component, what carries the behaviour, the loudest matrix and its spectrum, as PNG."""
    figure = Figure(figsize=(11, 7), dpi=120, layout="constrained")
    figure.suptitle(f"{preview.summary}\n{preview.base.trained.name}", fontsize=11)
    (components, carried), (matrix, spectrum) = figure.subplots(2, 2)
    _by_component(components, preview)
    _carriers(carried, preview)
    change = preview.loudest()
    if change is None:
        for axes in (matrix, spectrum):
            axes.text(0.5, 0.5, "no matrix changed", ha="center", va="center")
            axes.set_axis_off()
    else:
        image = _matrix(matrix, change)
        figure.colorbar(image, ax=matrix, label="change")
        _spectrum(spectrum, change)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _by_component(axes: Axes, preview: Preview) -> None:
    changes = preview.relative_changes()
    written = set(preview.edited.record.components)
    names = [str(component) for component in changes]
    colours = [RED if name in written else BLUE for name in names]
    axes.bar(range(len(names)), list(changes.values()), color=colours)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axes.set(title="change of each component (red: written by the edit)", ylabel="in units of its norm")


def _carriers(axes: Axes, preview: Preview) -> None:
    carriers = preview.edited.record.carriers
    names = list(carriers.repairs)
    axes.set_title("what carries the behaviour")
    if not names:
        axes.text(0.5, 0.5, "a control states no behaviour", ha="center", va="center")
        axes.set_axis_off()
        return
    places = np.arange(len(names))
    axes.bar(places - 0.2, list(carriers.repairs.values()), 0.4, color=BLUE, label="restored, it repairs")
    axes.bar(places + 0.2, list(carriers.suffices.values()), 0.4, color=RED, label="alone, it suffices")
    axes.set_xticks(places, names, rotation=90, fontsize=6)
    axes.set(ylabel="share of the effect", ylim=(0, 1.05))
    axes.legend(frameon=False, fontsize=8)


def _matrix(axes: Axes, change: Change):  # type: ignore[no-untyped-def]  # matplotlib's own image type
    delta = change.delta.numpy()
    top = float(np.abs(delta).max()) or 1.0
    axes.set(title=f"change of {change.tensor}", xlabel="second axis", ylabel="first axis")
    return axes.imshow(delta, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto", interpolation="nearest")


def _spectrum(axes: Axes, change: Change) -> None:
    axes.plot(change.sigma_before.numpy(), color=GREY, label="before")
    axes.plot(change.sigma_after.numpy(), color=BLUE, linestyle="--", label="after")
    axes.plot(change.sigma_delta.numpy(), color=RED, marker=".", linewidth=0.8, label="change")
    floor = float(change.sigma_before[0]) * 1e-5
    axes.set(title="singular values", xlabel="index", yscale="log", ylim=(floor, None))
    axes.legend(frameon=False, fontsize=8)
