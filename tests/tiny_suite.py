"""A suite on the recipe that trains in seconds, as text that tests may spoil."""

from game.dealing.suite import Suite, suite_of
from models.strict_yaml import parse_document

TINY_SUITE = """\
version: 1
name: tiny
title: A suite for tests
league: whitebox
prior: 0.5
budget: 5000
score: [detection, localisation]
bases:
  - {recipe: facts-tiny, checkpoints: 1}
groups:
  - name: facts
    count: 6
    edit: {kind: rrome, token: subject_last, solver: {cov: {ridge: 1.0e-2}}}
    sites: {facts-tiny: [blocks.0.mlp, blocks.1.mlp]}
    controls: [untouched, random_rank1]
  - name: heads
    count: 4
    edit: {kind: head_ablate}
    sites: {facts-tiny: ["blocks.0.attn.*", "blocks.1.attn.*", "blocks.2.attn.*", blocks.3.attn.0]}
    controls: [untouched, random_rank1, benign_finetune]
"""


def tiny_suite() -> Suite:
    return suite_of(parse_document(TINY_SUITE, "tiny.yaml"))


def facts_only() -> Suite:
    """Without heads, whose sites take long to measure."""
    suite = tiny_suite()
    return suite.model_copy(update={"groups": suite.groups[:1]})
