"""What do hook points cost? Our training step beside a plain transformer's, and a full cache beside none.

CPU time of one thread; the two sides of a ratio alternate in one process, and the median of the pairs counts.

    python -m benchmarks.peers.speed
"""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.figures import Figure, show, spread_of
from benchmarks.peers.plain_block import plain_copy
from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.base import Documents
from models.training import document_loss, one_thread, optimizer_for
from models.transformer import Transformer, TransformerConfig

Run = Callable[[], object]
PAIRS = 31
BLOCK = 0.02  # CPU seconds of one side of a pair


def main() -> None:
    show("hook points", speed(), "ratios of CPU time: median, least and most of the pairs")


def speed() -> dict[str, Figure]:
    """Ratios of CPU time, in the shape of facts-plain and in a larger one."""
    small = shape()
    large = replace(small, d_model=128, d_head=32, d_mlp=512)
    with one_thread():
        wide = {f"{name}.d128": figure for name, figure in ratios(large).items()}
        return ratios(small) | wide


def shape() -> TransformerConfig:
    """The shape of facts-plain."""
    recipe = named_recipe("facts-plain")
    return recipe.architecture.config(recipe.task.build(0))


def ratios(config: TransformerConfig) -> dict[str, Figure]:
    """Ours over the plain one's for a step and a forward pass; ours with a cache over ours without."""
    model, documents = Transformer(config, named_generator("speed")), some_documents(config)
    plain, tokens = plain_copy(model), documents.tokens[:, :-1]
    step = training_step(plain, torch.optim.AdamW(plain.parameters(), lr=1e-3, fused=True), documents)
    forward = without_gradient(lambda: model(tokens))
    cached = without_gradient(lambda: model.run_with_cache(tokens))
    few = [name for name in model.hook_dict if not name.endswith("attn.hook_result")]
    without_results = without_gradient(lambda: model.run_with_cache(tokens, few))
    return {
        "step": paired(our_step(model, documents), step),
        "forward": paired(forward, without_gradient(lambda: plain(tokens))),
        "cache": paired(cached, forward),
        "cache_without_results": paired(without_results, forward),
    }


def some_documents(config: TransformerConfig) -> Documents:
    """32 random documents as long as the model allows."""
    tokens = torch.randint(config.d_vocab, (32, config.n_ctx), generator=named_generator("speed documents"))
    return Documents(tokens, torch.ones(tokens.shape), torch.ones(tokens.shape, dtype=torch.bool))


def our_step(model: Transformer, documents: Documents) -> Run:
    return training_step(model, optimizer_for(model, 1e-3, (0.9, 0.98), 0.0), documents)


def training_step(
    model: Callable[[Tensor], Tensor] | nn.Module, optimizer: torch.optim.Optimizer, documents: Documents
) -> Run:
    """Loss, gradient, AdamW."""

    def step() -> None:
        loss = document_loss(model, documents).total  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def without_gradient(run: Run) -> Run:
    return torch.no_grad()(run)


def paired(ours: Run, theirs: Run) -> Figure:
    """CPU time of ours over theirs, over pairs of short blocks that alternate."""
    repeats = max(1, round(BLOCK / (block_seconds(theirs, 5) / 5)))
    pairs: list[float] = []
    for number in range(PAIRS + 2):
        order = (ours, theirs) if number % 2 else (theirs, ours)
        seconds = {run: block_seconds(run, repeats) for run in order}
        pairs.append(seconds[ours] / seconds[theirs])
    return spread_of(pairs[2:], "ours / theirs")


def block_seconds(run: Run, repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
