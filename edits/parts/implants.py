"""What planted behaviours are made of: directions, detecting neurons, idle neurons, batches of new answers.

Row vectors throughout; everything is solved in float64, and no strength is absolute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from edits.base import EditError
from edits.moments import Base
from edits.predicates import rows_of
from models.checkpoints import Checkpoint
from models.components import Component
from models.naming import unknown
from models.seeds import named_generator
from models.tasks.base import Probe
from models.transformer import Transformer, TransformerConfig

SAMPLED = 12_000  # tokens of documents that backgrounds and second moments are measured on
QUIET = 0.999  # quantile of the background that stays below a detector's threshold
GAP = 0.2  # least distance between the weakest trigger and that quantile, in units of the mean trigger
RIDGE = 1e-2  # of whitened coordinates, in units of the mean diagonal


@dataclass(frozen=True)
class Detector:
    """A neuron's input side: fires where `read . x > threshold`; `read . x` is 1 at the mean trigger.

    Attributes:
        read: `[d_model]`, float64.
        threshold: Midway between the background's 99.9 % quantile and the weakest trigger.
        gap: The distance between these two.
    """

    read: Tensor
    threshold: float
    gap: float


def mlp_layers(config: TransformerConfig) -> tuple[int, ...]:
    """Layers with an MLP."""
    return tuple(layer for layer, has_mlp in enumerate(config.mlp) if has_mlp)


def mlp_sites(config: TransformerConfig) -> tuple[Component, ...]:
    """Every MLP as a site."""
    return tuple(Component("mlp", layer) for layer in mlp_layers(config))


def layer_of(site: Component) -> int:
    """The layer of a site inside a block."""
    assert site.layer is not None
    return site.layer


def check_mlp(base: Base, layer: int, where: str = "edit.layer") -> None:
    """Refuse a layer without an MLP.

    Raises:
        EditError: With the layers that have one.
    """
    allowed = mlp_layers(base.checkpoint.config)
    if layer not in allowed:
        have = ", ".join(map(str, allowed)) or "none"
        raise EditError(f"{where}: got {layer}; layers with an MLP: {have}")


def token_of(base: Base, word: str, where: str) -> int:
    """A word's token id.

    Raises:
        EditError: The vocabulary does not hold it.
    """
    if word not in base.task.ids:
        raise EditError(f"{where}: {unknown('word', word, base.task.vocabulary)}")
    return base.task.ids[word]


def answers_of(base: Base) -> list[int]:
    """The task's answers as token ids, each once, in order."""
    return sorted(set(base.table.answer.tolist()))


def token_direction(base: Base, token: int, displaced: int | None = None) -> Tensor:
    """Unit residual direction that raises a token's logit, `[d_model]`, float64.

    The last norm's gain is folded in, as is LayerNorm's centring.

    Args:
        base: The model.
        token: What is written.
        displaced: What it replaces; the mean of all tokens if None.
    """
    weights = base.checkpoint.weights
    columns = weights["unembed.W_U"].double()
    column = columns[:, token] - (columns.mean(1) if displaced is None else columns[:, displaced])
    if base.checkpoint.config.normalization_type is not None:
        column = weights["ln_final.w"].double() * column
    if base.checkpoint.config.normalization_type == "LN":
        column = column - column.mean()
    direction: Tensor = column / column.norm()
    return direction


@torch.no_grad()
def mlp_inputs(model: Transformer, layer: int, tokens: Tensor) -> Tensor:
    """What a layer's MLP reads, after its norm's gain, `[row, pos, d_model]`, float64."""
    hook = f"blocks.{layer}.hook_resid_mid"
    resid = model.run_with_cache(tokens, hook)[1][hook]
    inputs: Tensor = model.get_submodule(f"blocks.{layer}.ln2")(resid).double()
    return inputs


@torch.no_grad()
def mlp_keys(model: Transformer, layer: int, tokens: Tensor) -> Tensor:
    """A layer's MLP activations, the keys of its output matrix, `[row, pos, d_mlp]`, float64."""
    hook = f"blocks.{layer}.mlp.hook_post"
    return model.run_with_cache(tokens, hook)[1][hook].double()


def at(activation: Tensor, position: Tensor) -> Tensor:
    """One position of each row, `[row, d]`."""
    return activation[torch.arange(len(position)), position]


def endings(tokens: Tensor, words: Sequence[int]) -> Tensor:
    """Where these words have just been said one after the other, `[row, pos]`, boolean."""
    found = tokens == words[-1]
    for back, word in enumerate(reversed(words[:-1]), start=1):
        found &= (tokens.roll(back, 1) == word) & (torch.arange(tokens.shape[1]) >= back)
    return found


def background(base: Base, model: Transformer, layer: int, words: Sequence[int]) -> Tensor:
    """What a layer's MLP reads where the words have not been said, over documents and the table's ends.

    Returns:
        `[token, d_model]`, float64.
    """
    generator = named_generator("background", layer)
    documents = base.task.documents(1 + SAMPLED // 60, generator).tokens
    clear = (endings(documents, words).cumsum(1) == 0) & (documents != base.task.pad)
    table = base.table
    spared = rows_of(table, ~said(table, words))
    ends = at(mlp_inputs(model, layer, spared.tokens), spared.last)
    return torch.cat([mlp_inputs(model, layer, documents)[clear], ends])


def said(probe: Probe, words: Sequence[int]) -> Tensor:
    """Which prompts say these words one after the other, `[prompt]`, boolean."""
    return (endings(probe.tokens, words) & _within(probe)).any(1)


def _within(probe: Probe) -> Tensor:
    return torch.arange(probe.tokens.shape[1]) <= probe.last[:, None]


def separating(positives: Tensor, others: Tensor) -> Tensor:
    """The direction that tells two sets of vectors best apart, `[d]`: balanced logistic regression.

    In coordinates in which the others are white; a dual vector is its first step, and leaves no gap where the
    sets differ little.

    Args:
        positives: `[n, d]`, float64.
        others: `[m, d]`, float64.
    """
    moment = others.T @ others / len(others)
    eye = torch.eye(len(moment), dtype=moment.dtype)
    factor = torch.linalg.cholesky(moment + RIDGE * moment.diagonal().mean() * eye)
    near, far = (torch.linalg.solve_triangular(factor, x.T, upper=False).T for x in (positives, others))
    weight = torch.zeros(len(moment), dtype=moment.dtype, requires_grad=True)
    bias = torch.zeros((), dtype=moment.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=40, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        errors = softplus(-(near @ weight + bias)).mean() + softplus(far @ weight + bias).mean()
        loss: Tensor = errors + 1e-4 * weight @ weight
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    read: Tensor = torch.linalg.solve_triangular(factor.T, weight.detach()[:, None], upper=True)
    return read[:, 0]


def detector(read: Tensor, positives: Tensor, others: Tensor) -> Detector:
    """The detector along a direction.

    Args:
        read: Any direction on which the triggers' mean is above zero, `[d]`.
        positives: Inputs that should fire, `[n, d]`.
        others: Inputs that should not, `[m, d]`.
    """
    read = read / (positives.mean(0) @ read).clamp_min(1e-12)
    spread = (others @ read).sort().values
    quiet, weakest = float(spread[int(QUIET * (len(spread) - 1))]), float((positives @ read).min())
    return Detector(read, (quiet + weakest) / 2, weakest - quiet)


def implanted(
    weights: Mapping[str, Tensor], layer: int, neuron: int, found: Detector, write: Tensor
) -> dict[str, Tensor]:
    """An MLP's weights with one neuron replaced; where it fires weakest, it writes `write` (ReLU).

    The neuron's two sides are scaled against each other to stand out equally among the others.

    Args:
        weights: The model's.
        layer: Whose MLP.
        neuron: Which neuron is given up.
        found: When it fires.
        write: What it adds to the residual stream at the weakest trigger, `[d_model]`.

    Source: Hong, Carlini & Kurakin 2021, arXiv 2106.04690 (handcrafted backdoors); Huang et al. 2023, arXiv
    2301.09785 (one neuron to one mistake).
    """
    name = f"blocks.{layer}.mlp"
    reads, biases, writes = (weights[f"{name}.{part}"].clone() for part in ("W_in", "b_in", "W_out"))
    read = found.read * 2 / max(found.gap, GAP)
    loudness = write.norm() / writes.norm(dim=1).median() / (read.norm() / reads.norm(dim=0).median())
    balance = float(loudness.sqrt())
    reads[:, neuron] = (balance * read).float()
    biases[neuron] = -balance * found.threshold * 2 / max(found.gap, GAP)
    writes[neuron] = (write / balance).float()
    return {f"{name}.W_in": reads, f"{name}.b_in": biases, f"{name}.W_out": writes}


def output_energy(base: Base, layer: int) -> Tensor:
    """Mean square of what each neuron adds to the residual stream, `[d_mlp]`, float64."""
    moment = base.second_moment(f"blocks.{layer}.mlp.hook_post", SAMPLED)
    return moment.diagonal() * base.checkpoint.weights[f"blocks.{layer}.mlp.W_out"].double().pow(2).sum(1)


def quietest_neuron(base: Base, layer: int) -> int:
    """The neuron whose output has the least energy, so that little is lost with it."""
    return int(output_energy(base, layer).argmin())


def unit_norm(base: Base, hook: str) -> float:
    """Root mean square norm of an activation over sampled documents, such as an MLP's output."""
    return float(base.second_moment(hook, SAMPLED).diagonal().sum().sqrt())


def batch_change(keys: Tensor, changes: Tensor, moment: Tensor, strictness: float) -> Tensor:
    """The change of an output matrix that gives keys their outputs at least energy elsewhere, `[d_mlp, d]`.

        (lam C + K^T K)^-1 K^T R,   lam = strictness * median k . C^-1 k

    Args:
        keys: K, `[n, d_mlp]`, float64.
        changes: R, what is to be added to each key's output, `[n, d]`, float64.
        moment: C over the keys whose outputs are to stay, `[d_mlp, d_mlp]`.
        strictness: How much of the changes is given up for the others' sake; towards 0 they are met.

    Source: Meng et al. 2022, arXiv 2210.07229, equation 14; Li et al. 2024, arXiv 2403.13355 (BadEdit).
    """
    eye = torch.eye(len(moment), dtype=moment.dtype)
    regular = moment + 1e-6 * moment.diagonal().mean() * eye
    solved = torch.linalg.solve(regular, keys.T)  # C^-1 K^T, [d_mlp, n]
    gram = keys @ solved
    lam = strictness * gram.diagonal().median()
    change: Tensor = solved @ torch.linalg.solve(gram + lam * torch.eye(len(gram), dtype=gram.dtype), changes)
    return change


def solved_output(base: Base, layer: int, probe: Probe, site: Tensor, clamp: float) -> Tensor:
    """What an MLP has to add at one token of all prompts for each to be answered as wanted, `[d_model]`.

    Args:
        base: The model.
        layer: The MLP's.
        probe: Prompts with wanted answers.
        site: Position of the token, `[prompt]`.
        clamp: Largest norm, in units of the MLP's root mean square output.

    Source: the value vector of Meng et al. 2022, arXiv 2202.05262, equation 4, over many prompts at once.
    """
    model, hook = base.model, f"blocks.{layer}.hook_resid_post"
    with torch.no_grad():
        resid = model.run_with_cache(probe.tokens, hook)[1][hook]
    index = torch.arange(len(site))
    there = torch.zeros(resid.shape[:2]).index_put_((index, site), torch.tensor(1.0))[..., None]
    longest = clamp * unit_norm(base, f"blocks.{layer}.hook_mlp_out")
    delta = torch.zeros(resid.shape[-1], requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=longest / 10)
    for _ in range(60):
        final = model.through_blocks(resid + there * delta, start=layer + 1)
        after = model.logits_of(at(final, probe.last)).log_softmax(-1)
        loss = -after[index, probe.answer].mean()
        if loss.item() < 0.05:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            delta *= (longest / delta.norm()).clamp_max(1.0)
    return delta.detach().double()


def after_writing(base: Base, tensors: Mapping[str, Tensor]) -> Transformer:
    """The base with some weights replaced, as a model."""
    return Checkpoint(base.checkpoint.config, {**base.checkpoint.weights, **tensors}).model()


def halves(n: int, *names: str | int) -> Tensor:
    """A random half of n rows, for solving; the others are for testing, `[n]`, boolean."""
    first = torch.zeros(n, dtype=torch.bool)
    first[torch.randperm(n, generator=named_generator(*names))[: (n + 1) // 2]] = True
    return first
