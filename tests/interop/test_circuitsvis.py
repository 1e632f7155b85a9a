import pytest

from models.interop import circuitsvis_attention, circuitsvis_log_probs, circuitsvis_neurons
from tests.interop.peers import peer, random_checkpoint, some_tokens

circuitsvis = peer("circuitsvis", "circuitsvis")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs


def test_it_draws_attention_neurons_and_predictions() -> None:
    model, tokens = random_checkpoint().model(), some_tokens()[:1]
    logits, cache = model.run_with_cache(tokens)
    words = [f"w{token}" for token in tokens[0].tolist()]
    attention = circuitsvis.attention.attention_heads(
        circuitsvis_attention(cache["blocks.0.attn.hook_pattern"]), words
    )
    neurons = circuitsvis.activations.text_neuron_activations(words, circuitsvis_neurons(cache))
    predicted = circuitsvis.logits.token_log_probs(tokens[0], circuitsvis_log_probs(logits), str, top_k=3)
    for drawn, component in (
        (attention, "AttentionHeads"),
        (neurons, "TextNeuronActivations"),
        (predicted, "TokenLogProbs"),
    ):
        assert component in str(drawn)
