"""The loss curve of a training as a picture."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure


def curve_png(title: str, curve: Sequence[tuple[int, float, float]]) -> bytes:
    """Running loss (log scale) and running accuracy on the answers against steps, as PNG.

    Args:
        title: Above the picture.
        curve: Step, loss in nats, accuracy.
    """
    steps, losses, accuracies = zip(*curve, strict=True)
    figure = Figure(figsize=(7, 3.6), dpi=120, layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    (loss,) = left.plot(steps, losses, color="#0072b2", label="loss on answers (nats)")
    (accuracy,) = right.plot(steps, accuracies, color="#d55e00", linestyle="--", label="accuracy on answers")
    left.set(title=title, xlabel="step", ylabel="loss (nats)", yscale="log")
    right.set(ylabel="accuracy", ylim=(0.0, 1.02))
    left.grid(alpha=0.3)
    figure.legend(handles=[loss, accuracy], loc="outside lower center", ncols=2, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
