"""A brief as JSON text and back, equal to what it was to the last bit."""

import json
from dataclasses import fields
from typing import Any

from game.api import Brief, PublicTask
from models.components import Component
from models.transformer import TransformerConfig


def brief_to_json(brief: Brief) -> str:
    """The brief as JSON text, its mappings in their own order."""
    data = _fields(brief)
    data["config"] = brief.config.to_dict()
    data["task"] = _fields(brief.task) | {"classes": dict(brief.task.classes)}
    data["component_prior"] = {str(component): p for component, p in brief.component_prior.items()}
    return json.dumps(data)


def brief_from_json(text: str) -> Brief:
    """The brief that `brief_to_json` wrote."""
    data = json.loads(text)
    data["config"] = TransformerConfig.from_dict(data["config"])
    task = data["task"]
    task["vocabulary"] = tuple(task["vocabulary"])
    task["classes"] = {name: tuple(tokens) for name, tokens in task["classes"].items()}
    data["task"] = PublicTask(**task)
    data["component_prior"] = {Component.parse(name): p for name, p in data["component_prior"].items()}
    data["parts"] = tuple(data["parts"])
    return Brief(**data)


def _fields(value: Brief | PublicTask) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(value)}
