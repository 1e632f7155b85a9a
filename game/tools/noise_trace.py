"""Causal tracing by noise: as Meng et al. did it, with the subject's embeddings disturbed."""

from collections.abc import Sequence

import torch
from einops import repeat
from torch import Tensor

from game.api import Intervention, RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.causal_trace import check_window, trace_grids, trace_result, trace_sites
from game.tools.kit.arguments import PositionOfEach
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.questions import Questions
from game.tools.kit.result import ToolResult
from game.tools.kit.sweep import cells_of, sweep

EXAMPLE = Example(
    edit="rrome",
    args="--tokens affected:1 --first 5 --last 6",
    found="Restored MLP outputs at the subject bring back more of the new answer than of the learned one.",
    nothing="Attention brings back as much as the MLPs do.",
)


def estimate(config: TransformerConfig, rows: int, length: int, samples: int = 10) -> float:
    """Credits of `noise_trace` for that many questions of `length` tokens."""
    cells = sum(cells_of(config, length, site) for site in trace_sites(config))
    return forward_price(rows) * (1 + samples * (1 + cells))


def noise_trace(
    box: Toolbox,
    questions: Questions,
    first: PositionOfEach,
    last: PositionOfEach,
    noise: float = 3.0,
    samples: int = 10,
    window: int = 1,
    seed: int = 0,
) -> ToolResult:
    """How much of an answer's probability returns when single states are restored in a run with noise.

    The noise is added to the embeddings of the subject, the same draws for every cell. Total effect:
    probability in the clean run minus that in the noisy one; indirect effect of a cell: probability with that
    state restored minus the noisy one's. Noise leaves the distribution; `causal_trace` does not.
    Price: rows (1 + samples (1 + cells)).

    Arrays: `total` `[row]`; `resid` `[layer, pos, row]`, the embedding first, and `attn` and `mlp`
    `[layer, pos, row]`, indirect effects as differences of probability; `resid_mean`, `attn_mean`, `mlp_mean`
    `[layer, pos]`; `noisy` `[row]`, the noisy run's probability.

    Args:
        box: The model, in a league that grants activations and interventions.
        questions: What is asked; a distractor plays no part.
        first: Position of the subject's first token, `[row]`.
        last: Position of its last token, `[row]`.
        noise: Standard deviation of the noise, in standard deviations of the subjects' embeddings.
        samples: Draws of the noise.
        window: How many neighbouring layers' attention or MLP outputs are restored together.
        seed: Of the noise.

    Raises:
        RequestError: An argument does not fit.

    Source: Meng et al. 2022, arXiv 2202.05262, section 2 and appendix B.
    """
    questions.check(box.config)
    check_window(box.config, window)
    subject = _subject(questions, first, last)
    _check(noise, samples)
    spent, rows = box.budget.spent, len(questions)
    grids = trace_grids(box.config, questions.tokens.shape[1])
    hooks = [hook for grid in grids for hook in grid.hooks]
    clean = run(box, questions.tokens, [*hooks, "hook_embed", "logits"])
    owners = torch.arange(rows).repeat_interleave(samples)  # [run]
    drawn = torch.randn(
        samples, *clean["hook_embed"].shape[1:], generator=torch.Generator().manual_seed(seed)
    )
    deviation = float(clean["hook_embed"][subject].std(correction=0))
    draws = noise * deviation * repeat(drawn, "sample pos d_model -> (row sample) pos d_model", row=rows)

    def disturb(runs: Tensor) -> Sequence[Intervention]:
        return [Intervention("hook_embed", draws[runs], "add", mask=subject[owners[runs], :, None])]

    def measure(logits: Tensor, runs: Tensor) -> Tensor:
        return _probability(questions.of(owners[runs]), logits)

    tokens = questions.tokens[owners]
    noisy = measure(run(box, tokens, ["logits"], disturb)["logits"], torch.arange(len(tokens)))
    arrays = {"noisy": _means(noisy, rows)}
    arrays["total"] = _probability(questions, clean["logits"]) - arrays["noisy"]
    for grid in grids:
        wide = 1 if grid.site == "resid" else window
        restored = sweep(box, grid, tokens, clean, measure, owners, disturb, wide)
        arrays[grid.site] = _means(restored - noisy, rows)
    args = {"rows": rows, "noise": noise, "samples": samples, "window": window, "seed": seed}
    return trace_result("noise_trace", args, box, spent, arrays, grids)


def _subject(questions: Questions, first: Tensor, last: Tensor) -> Tensor:
    """Which positions hold the subject, `[row, pos]`."""
    rows, length = questions.tokens.shape
    for name, place in (("first", first), ("last", last)):
        if place.shape != (rows,) or int(place.min()) < 0 or int(place.max()) >= length:
            raise RequestError(f"{name}: wanted one position from 0 to {length - 1} for each question")
    if bool((first > last).any()):
        raise RequestError("first: the subject's first token lies behind its last one")
    pos = torch.arange(length)
    return (first[:, None] <= pos) & (pos <= last[:, None])


def _check(noise: float, samples: int) -> None:
    if not 0 < noise < 1e6:
        raise RequestError(f"noise: got {noise}; allowed: above 0, in standard deviations")
    if samples < 1:
        raise RequestError(f"samples: got {samples}; allowed: at least 1")


def _probability(questions: Questions, logits: Tensor) -> Tensor:
    """P(answer), `[row]`."""
    log_probs = questions.read(logits).log_softmax(-1)
    return log_probs.gather(-1, questions.answer[:, None])[:, 0].exp()


def _means(values: Tensor, rows: int) -> Tensor:
    """Means over the samples of a last axis of `rows` times samples."""
    return values.view(*values.shape[:-1], rows, -1).mean(-1)
