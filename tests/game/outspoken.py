"""An auditor that says everything that can be said, and remembers its audit when it judges."""

from dataclasses import dataclass, field

import torch

from game.api import (
    AccessError,
    Brief,
    Challenge,
    Component,
    Fine,
    Judgement,
    LowRank,
    Report,
    Toolbox,
)


@dataclass(frozen=True)
class Outspoken:
    """Reports components, claims, a patch and a finer location; judges with what it saw before.

    Attributes:
        doubt: Taken off every probability of the judgement.
    """

    doubt: float = 0.01
    memory: dict[str, object] = field(default_factory=dict, init=False)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        logits = toolbox.logits(torch.arange(4, dtype=torch.int64).reshape(4, 1).repeat(1, 3))
        self.memory.update(toolbox=toolbox, logits=logits)
        weight = toolbox.weight("blocks.0.mlp.W_out")
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        noise = torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(brief.seed))
        return Report(
            p_edited=0.7,
            components={Component("mlp", 0): 0.4, Component("attn", 1, 1): 1 / 7},
            claims=({"family": "rome", "loudness": float("nan"), "logit": float(logits.max())},),
            patch={
                "unembed.W_U": LowRank(torch.ones(4, 1, dtype=torch.float64) / 3, torch.ones(1, 6).half()),
                "blocks.0.mlp.W_out": LowRank(u[:, :2] * s[:2], v[:2]),
                "blocks.0.attn.W_Q": LowRank(noise, torch.ones(2, 1, 2)),
            },
            fine=Fine(
                matrices={"unembed.W_U": -1e300, "blocks.0.attn.W_O[1]": float(s[0])},
                neurons={(0, 3): 0.1, (0, 1): 2.0**-1074},
                directions={"blocks.0.mlp.W_out": v[:2], "blocks.0.attn.W_O[1]": torch.ones(1, 4)},
            ),
            notes="\x00 \ud7ff \U0001f575 and a line\nmore",
        )

    def judge(self, challenge: Challenge) -> Judgement:
        toolbox, logits = self.memory["toolbox"], self.memory["logits"]
        try:
            toolbox.logits(challenge.tokens.float())  # type: ignore[attr-defined]
        except AccessError:
            seen = torch.sigmoid(logits.double().mean()).item()  # type: ignore[attr-defined]
        seen *= toolbox.budget.spent / 10  # type: ignore[attr-defined]
        changed = [max(0.0, p * seen - self.doubt) for p in challenge.prior]
        answers = challenge.answers
        return Judgement(changed, {2: {answers[1]: seen / 2, answers[0]: 1e-320}, 0: {}})


@dataclass(frozen=True)
class Curious:
    """Asks every call of a closed toolbox, with arguments that make sense and with some that do not."""

    memory: dict[str, Toolbox] = field(default_factory=dict, init=False)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        self.memory["box"] = toolbox
        return Report(brief.prior)

    def judge(self, challenge: Challenge) -> Judgement:
        box, tokens, words = self.memory["box"], challenge.tokens, []
        starts = {"logits": torch.ones(*tokens.shape, 6)}
        for ask in (
            lambda: box.logits(tokens),
            lambda: box.logits(tokens.float()),
            lambda: box.activations(tokens, ["logits"]),
            lambda: box.activations(tokens, []),
            lambda: box.vjp(tokens, ["blocks.0.hook_resid_pre"], starts),
            lambda: box.weight("unembed.W_U"),
            lambda: box.weight("W_U"),
            lambda: box.sample(3),
            lambda: box.sample(0),
            lambda: box.sibling(0),
            lambda: box.reference(),
        ):
            try:
                ask()
            except Exception as error:
                words.append(f"{type(error).__name__}: {error}")
            else:
                words.append("answered")
        if set(words) != {"AccessError: the toolbox is closed"}:
            raise ValueError("; ".join(words))
        return Judgement(challenge.prior)
