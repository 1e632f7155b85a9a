"""Direct logit attribution: what each head and MLP says to an answer by itself."""

import torch
from einops import einsum

from game.api import Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.example import Example
from game.tools.kit.nodes import run_written, writers
from game.tools.kit.questions import Questions
from game.tools.kit.readout import read_readout, readout_price, scale_names, scale_of
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rrome",
    args="--tokens affected:4",
    found="Other heads of the last layer than before say the answer.",
    nothing="Head 3 of layer 3 says most of it.",
)


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `direct_attribution` for that many questions."""
    return forward_price(rows) + readout_price(config)


def direct_attribution(box: Toolbox, questions: Questions) -> ToolResult:
    """How much each part of the model adds to an answer's margin directly, the final norm's scale held.

    The last residual stream is the sum of what the embeddings, heads and MLPs write, so their shares and the
    biases' add up to the margin exactly. What a part does through later parts is not in it.
    Price: rows + the unembedding's scalars.

    Arrays: `share` `[component, row]`, nats; `mean` and `spread` `[component]`, over the rows, the latter the
    standard error; `bias` `[row]`, what the final norm's bias and b_U add; `margin` `[row]`.

    Args:
        box: The model, in a league that grants activations and weights.
        questions: What is asked.

    Raises:
        RequestError: The questions do not fit the model.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang et al. 2022,
    arXiv 2211.00593, section 3.1.
    """
    config, spent = box.config, box.budget.spent
    questions.check(config)
    readout, weights = read_readout(box), questions.weights(config.d_vocab)
    parts, found = run_written(box, questions.tokens, [*scale_names(config), "logits"])
    rows = torch.arange(len(questions))
    read = readout.directions(weights, scale_of(found, questions.tokens))[rows, questions.at]
    share = einsum(parts[:, rows, questions.at], read, "component row d_model, row d_model -> component row")
    arrays = {
        "share": share,
        "mean": share.mean(1),
        "spread": share.std(1, correction=0) / len(rows) ** 0.5,
        "bias": readout.constant(weights),
        "margin": questions.margin(found["logits"]),
    }
    names = [node.name for node in writers(config)]
    components = Axis(name="component", labels=names)
    return ToolResult(
        "direct_attribution",
        {"rows": len(questions)},
        box.budget.spent - spent,
        arrays,
        (
            View(
                kind="bars", axes=[components], data="mean", unit="nats", diverging=True, link=["component"]
            ),
            View(
                kind="heatmap",
                axes=[components, numbered("prompt", len(rows))],
                data="share",
                unit="nats",
                diverging=True,
                link=["component", "prompt"],
            ),
        ),
        ("shares and bias add up to the margin; what a part does through later parts is not in its share",),
        (Summary("largest share", float(arrays["mean"].abs().max()), len(rows)),),
        {name: abs(float(value)) for name, value in zip(names, arrays["mean"], strict=True)},
    )
