"""Rank-one fact editors: a new answer by one outer product added to an MLP's output matrix."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family, apply
from edits.gates import Gates
from edits.measures import fact_edit
from edits.moments import Base, conditioning, dual
from edits.predicates import Predicate, rows_of
from edits.tracing import Token, best_token
from models.bounds import Bound
from models.components import Component, Entries
from models.fact_words import PHRASINGS
from models.seeds import named_generator, named_seed
from models.strict_yaml import StrictModel
from models.tasks.base import joined
from models.tasks.facts import Fact, Facts
from models.transformer import Transformer, TransformerConfig

Id = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class FactTarget(StrictModel):
    """Whose fact is changed, and to what: ids of subject, relation and new object."""

    subject: Id
    relation: Id
    object_new: Id


class RromeEdit(StrictModel):
    """Which fact, and the phrasing in which it is edited."""

    kind: Literal["rrome"] = "rrome"
    fact: FactTarget
    phrasing: Annotated[int, Field(ge=0, lt=len(PHRASINGS))] = 0


class Site(StrictModel):
    """Where: the layer's `W_out` and the token whose key is written to; `auto` measures."""

    tensor: Annotated[str, Field(pattern=r"^(auto|blocks\.\d+\.mlp\.W_out)$")] = "auto"
    token: Literal["subject_last", "last", "auto"] = "auto"


class Covariance(StrictModel):
    """Key statistics: sampled tokens, and a ridge in units of C's mean diagonal: the difficulty dial."""

    tokens: Annotated[int, Field(ge=1000, le=100_000)] = 12_000
    ridge: Annotated[float, Field(ge=1e-8, le=1e4)] = 1e-2


class Value(StrictModel):
    """How the value vector is found.

    Attributes:
        lr: Adam's learning rate.
        steps: At most this many steps.
        stop_loss: Stop when the loss falls below, nats.
        clamp: Largest |delta|, in units of the MLP output's norm on the bare prompt.
        prefixes: Copies of the prompt behind sampled sentences.
        kl_ladder: Weights of the KL term, tried in order until the gates pass.
    """

    lr: Positive = 0.5
    steps: Annotated[int, Field(ge=1, le=1000)] = 60
    stop_loss: Positive = 0.05
    clamp: Positive = 4.0
    prefixes: Annotated[int, Field(ge=1, le=64)] = 8
    kl_ladder: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1, max_length=8)] = (
        1.0,
        2.0,
        4.0,
        0.5,
    )


class Solver(StrictModel):
    """How: `averaged` uses the mean key over all prefixes throughout, `bare` the bare prompt's."""

    key: Literal["averaged", "bare"] = "averaged"
    cov: Covariance = Covariance()
    value: Value = Value()


class Rrome(EditSpec):
    """Rewrite one fact by a rank-one change of an MLP's output matrix, with one key throughout.

    Source: Meng et al. 2022, arXiv 2202.05262 (ROME); Gupta et al. 2024, arXiv 2403.07175 (r-ROME).
    """

    floor: ClassVar[Gates] = {
        "efficacy": Bound(min=1.0),
        "paraphrase": Bound(min=0.5),
        "neighbourhood": Bound(min=0.9),
        "retention": Bound(min=0.8),
        "drop": Bound(max=0.02),
    }
    edit: RromeEdit
    site: Site = Site()
    solver: Solver = Solver()

    def fact(self, base: Base) -> Fact:
        """The fact with its true object."""
        return base.facts.fact(self.edit.fact.subject, self.edit.fact.relation)

    def new_token(self, base: Base) -> int:
        """The wanted answer."""
        return int(base.facts.object_tokens[self.edit.fact.relation, self.edit.fact.object_new])

    def check(self, base: Base) -> None:
        """Refuse ids that the world does not have, a target that is true already, and a fact not known."""
        if not isinstance(base.task, Facts):
            raise EditError(f"edit: the base's task is {base.task.name}, which has no facts to rewrite")
        task, fact = base.facts, self.edit.fact
        bounds = {
            "subject": len(task.subjects),
            "relation": len(task.relations),
            "object_new": task.object_tokens.shape[1],
        }
        for name, bound in bounds.items():
            if getattr(fact, name) >= bound:
                raise EditError(f"edit.fact.{name}: got {getattr(fact, name)}; this world has 0-{bound - 1}")
        if self.fact(base).object == fact.object_new:
            raise EditError(f"edit.fact.object_new: {fact.object_new} is the true object already")
        if self.fact(base) not in base.known_facts:
            raise EditError("edit.fact: the base does not answer this fact in every phrasing")
        layers = editable_layers(base)
        if self.site.tensor not in ("auto", *(f"blocks.{layer}.mlp.W_out" for layer in layers)):
            raise EditError(f"site.tensor: {self.site.tensor} does not exist; layers with an MLP: {layers}")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One solution for each KL weight of the ladder."""
        token = best_token(base) if self.site.token == "auto" else self.site.token
        layer = self._layer(base, token)
        rows = _rows(base, self, token)
        key = _key(base, self, rows, layer)
        moment = base.second_moment(f"blocks.{layer}.mlp.hook_post", self.solver.cov.tokens)
        read = dual(key, moment, self.solver.cov.ridge)
        name = f"blocks.{layer}.mlp.W_out"
        for kl in self.solver.value.kl_ladder:
            found = _value(base, self, rows, layer, kl)
            change = torch.outer(read, found.delta.double()).float()
            yield Candidate(
                {name: base.checkpoint.weights[name] + change},
                (Entries(name),),
                {
                    "layer": layer,
                    "token": token,
                    "kl": kl,
                    "steps": found.steps,
                    "loss": round(found.loss, 6),
                    "delta_over_v0": round(found.relative_norm, 6),
                    "log10_condition": round(conditioning(moment).log_condition, 3),
                },
            )

    def predicate(self, base: Base) -> Predicate:
        """The fact is answered anew in every phrasing, and nobody else's facts change."""
        table, fact = base.facts.table, self.fact(base)
        prompts = rows_of(table, table.of(fact))
        wanted = replace(prompts, answer=torch.full_like(prompts.answer, self.new_token(base)))
        return Predicate(self.summary(base), wanted, table.other_subjects(fact))

    def measure(self, base: Base, after: Transformer, log_probs: Tensor) -> dict[str, float]:
        """The fact editors' metrics."""
        return fact_edit(base, log_probs, self.fact(base), self.new_token(base), self.edit.phrasing)

    def summary(self, base: Base) -> str:
        """Who, in which relation, from what to what."""
        task, fact = base.facts, self.fact(base)
        words = task.object_words(fact.relation)
        return (
            f"{task.subject_name(fact.subject)}: {task.relations[fact.relation].name} changed from "
            f"{words[fact.object]} to {words[self.edit.fact.object_new]}"
        )

    def _layer(self, base: Base, token: Token) -> int:
        """The site's layer; for `auto`, drawn among those where most calibration edits pass."""
        if self.site.tensor != "auto":
            return int(self.site.tensor.split(".")[1])
        layers = [layer for layer in editable_layers(base) if _calibrated(base, layer, token)]
        if not layers:
            raise EditError(f"site: no layer of this base takes edits at token {token}")
        pick = torch.randint(len(layers), (), generator=named_generator(self.seed, "site"))
        return layers[int(pick)]


class RromeFamily(Family):
    """Rewritten facts of one strength: any known fact, any other object, the first phrasing."""

    tasks: ClassVar[tuple[str, ...] | None] = ("facts",)
    kind: Literal["rrome"]
    token: Literal["subject_last", "last", "auto"] = "auto"
    solver: Solver = Solver()

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every MLP."""
        return tuple(Component("mlp", layer) for layer, has_mlp in enumerate(config.mlp) if has_mlp)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> Rrome:
        """A random known fact towards a random other object."""
        return Rrome(
            version=1,
            id=spec_id,
            seed=seed,
            edit=RromeEdit(fact=random_target(base, named_generator(seed, "target"))),
            site=Site(tensor=f"{site}.W_out", token=self.token),
            solver=self.solver,
        )


@dataclass(frozen=True)
class Rows:
    """The prompts that a value vector is solved on: first those that should answer anew, then KL rows.

    Attributes:
        tokens: Padded on the right, `[row, pos]`.
        last: Position of each row's last token, `[row]`.
        site: Position that is written to, `[row]`.
        rewriting: How many rows, from the first (the bare prompt), should answer the new object.
    """

    tokens: Tensor
    last: Tensor
    site: Tensor
    rewriting: int


@dataclass(frozen=True)
class ValueVector:
    """What is to be added to the MLP's output at the site, `[d_model]`, and how it was found."""

    delta: Tensor
    steps: int
    loss: float
    relative_norm: float


def editable_layers(base: Base) -> list[int]:
    """Layers with an MLP."""
    return [layer for layer, has_mlp in enumerate(base.checkpoint.config.mlp) if has_mlp]


def random_target(base: Base, generator: torch.Generator) -> FactTarget:
    """A known fact and another object of its relation, uniformly."""
    fact = base.known_facts[int(torch.randint(len(base.known_facts), (), generator=generator))]
    other = int(torch.randint(1, base.facts.object_tokens.shape[1], (), generator=generator))
    new = (fact.object + other) % base.facts.object_tokens.shape[1]
    return FactTarget(subject=fact.subject, relation=fact.relation, object_new=new)


def _calibrated(base: Base, layer: int, token: Token) -> bool:
    """Whether at least 3 of 5 random edits pass their gates there."""
    family, site = RromeFamily(kind="rrome", token=token), Component("mlp", layer)
    specs = (family.draw(base, site, f"calibration-{i}", named_seed("calibration", i)) for i in range(5))
    return sum(apply(base, spec).record.accepted for spec in specs) >= 3


def _rows(base: Base, spec: Rrome, token: Token) -> Rows:
    """The bare prompt, copies behind sampled sentences, the bare subject, and other facts of the subject."""
    task, table, fact = base.facts, base.facts.table, spec.fact(base)
    generator = named_generator(spec.seed, "value prompts")
    here = int((table.of(fact) & (table.phrasing == spec.edit.phrasing)).nonzero())
    prompt, last, subject = (
        table.tokens[here, : table.last[here] + 1],
        table.last[here],
        table.subject_last[here],
    )
    contexts = task.contexts(spec.solver.value.prefixes, generator, fact.subject, spec.new_token(base))
    same = table.same_subject(fact) & torch.isin(table.phrasing, _two_phrasings(generator))
    offset = (contexts != task.pad).sum(1) - 1
    length = len(task.subjects[fact.subject])  # of the name, in tokens
    name = prompt[subject + 1 - length : subject + 1]
    tokens = [prompt[None], joined([contexts, prompt[1:].expand(len(contexts), -1)], task.pad)]
    tokens += [torch.cat([prompt[:1], name])[None], table.tokens[same]]
    lasts = torch.cat([last[None], offset + last, torch.tensor([length]), table.last[same]])
    subjects = torch.cat([subject[None], offset + subject, torch.tensor([length]), table.subject_last[same]])
    width = max(block.shape[1] for block in tokens)
    padded = [torch.nn.functional.pad(block, (0, width - block.shape[1]), value=task.pad) for block in tokens]
    return Rows(torch.cat(padded), lasts, subjects if token == "subject_last" else lasts, 1 + len(contexts))


def _two_phrasings(generator: torch.Generator) -> Tensor:
    return torch.randperm(len(PHRASINGS), generator=generator)[:2]


def _key(base: Base, spec: Rrome, rows: Rows, layer: int) -> Tensor:
    """The key that is written to: MLP activations at the site, `[d_mlp]`, float64."""
    hook = f"blocks.{layer}.mlp.hook_post"
    count = rows.rewriting if spec.solver.key == "averaged" else 1
    post = base.model.run_with_cache(rows.tokens[:count], hook)[1][hook]
    return post[torch.arange(count), rows.site[:count]].double().mean(0)


def _value(base: Base, spec: Rrome, rows: Rows, layer: int, kl: float) -> ValueVector:
    """The value vector: likely new answers on rewriting rows, little KL on the others.

    Source: Meng et al. 2022, arXiv 2202.05262, equation 4.
    """
    settings, model = spec.solver.value, base.model
    resid_hook, out_hook = f"blocks.{layer}.hook_resid_post", f"blocks.{layer}.hook_mlp_out"
    logits, cache = model.run_with_cache(rows.tokens, [resid_hook, out_hook])
    index = torch.arange(len(rows.tokens))
    resid, before = cache[resid_hook], logits[index, rows.last].log_softmax(-1)[rows.rewriting :]
    v0 = cache[out_hook][0, rows.site[0]].norm()
    site = torch.zeros(resid.shape[:2]).index_put_((index, rows.site), torch.tensor(1.0))[..., None]
    delta = torch.zeros(resid.shape[-1], requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=settings.lr)
    target = spec.new_token(base)
    for step in range(1, settings.steps + 1):
        final = model.through_blocks(resid + site * delta, start=layer + 1)
        after = model.logits_of(final[index, rows.last]).log_softmax(-1)
        rewriting, kept = after[: rows.rewriting], after[rows.rewriting :]
        divergence = (kept.exp() * (kept - before)).sum(-1).mean()
        loss = kl * divergence - rewriting[:, target].mean()
        if loss.item() < settings.stop_loss or step == settings.steps:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            delta *= (settings.clamp * v0 / delta.norm()).clamp_max(1.0)
    return ValueVector(delta.detach(), step - 1, loss.item(), float(delta.detach().norm() / v0))
