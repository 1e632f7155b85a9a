from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import layer_rules
from tests.layer_rules import RULES, Module, read_tree

ROOT = Path(__file__).resolve().parent.parent
Rule = Callable[[list[Module]], Iterator[str]]


def broken(rule: Rule, root: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(rule(read_tree(root)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_this_tree_keeps_the_rule(rule: Rule) -> None:
    assert list(rule(read_tree(ROOT))) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_tree_without_packages_keeps_the_rule(rule: Rule, tmp_path: Path) -> None:
    assert broken(rule, tmp_path, {"tests/eval.py": "eval('1')"}) == []


@pytest.mark.parametrize(
    ("path", "text", "target"),
    [
        # importer                imports                                      what it must not
        ("models/zoo.py", "import edits.base", "edits.base"),
        ("models/zoo.py", "from game import api", "game.api"),
        ("models/zoo.py", "def f():\n    import game", "game"),
        ("edits/rome.py", "from game.api import Brief", "game.api"),
        ("edits/rome.py", "import auditors.norms", "auditors.norms"),
        ("auditors/norms.py", "from game.referee import play_round", "game.referee"),
        ("auditors/norms.py", "from game import api, seal", "game"),
        ("auditors/norms.py", "import game", "game"),
        ("auditors/norms.py", "import models.transformer", "models.transformer"),
        ("auditors/norms.py", "import edits", "edits"),
        ("auditors/norms.py", "import importlib\nimportlib.import_module('edits.rome')", "edits.rome"),
        ("game/api.py", "from models.hooks import HookPoint", "models.hooks"),
        ("game/api.py", "import game.tools", "game.tools"),
        ("game/api.py", "from models import Component", "models"),
        ("game/api.py", "import typing\nif typing.TYPE_CHECKING:\n    import edits.base", "edits.base"),
        ("game/tools/lens.py", "from game.referee import play_round", "game.referee"),
        ("game/tools/lens.py", "from models.components import Component", "models.components"),
        ("game/tools/__init__.py", "import game.toolbox.live", "game.toolbox.live"),
        ("game/referee.py", "import auditors", "auditors"),
        ("game/toolsmith.py", "from auditors.prior import Prior", "auditors.prior"),
    ],
)
def test_an_import_against_the_order_is_found(path: str, text: str, target: str, tmp_path: Path) -> None:
    files = {"game/api.py": "", path: text}
    layer = (
        "game.tools" if "tools/" in path else "game.api" if path == "game/api.py" else path.partition("/")[0]
    )
    line = text.count("\n") + 1
    expected = [f"{path}:{line}: {layer} must not import {target}"]
    assert broken(layer_rules.imports_point_one_way, tmp_path, files) == expected


def test_imports_in_the_layers_order_are_fine(tmp_path: Path) -> None:
    files = {
        "models/transformer.py": "",
        "models/hooks.py": "import torch\nfrom models.components import Component",
        "edits/rome.py": "from models import transformer\nfrom edits.base import Edit",
        "game/api.py": "from models.components import Component\nfrom models import transformer",
        "game/tools/lens.py": "from game.api import Toolbox\nfrom game.tools import patching",
        "game/tools/patching.py": "import game.api",
        "game/referee.py": "import edits.base\nfrom models import hooks\nimport game.tools.lens",
        "auditors/norms.py": "from game import api\nfrom game.tools import lens\nimport game.tools.lens",
    }
    assert broken(layer_rules.imports_point_one_way, tmp_path, files) == []


@pytest.mark.parametrize(
    "text",
    [
        "import auditors.norms",
        "from auditors import norms",
        "from edits.strategies.greedy import Greedy",
        "from edits import strategies",
        "def play():\n    from edits.strategies import greedy",
        "from importlib import import_module\nimport_module('auditors.norms')",
    ],
)
def test_an_imported_plugin_is_found(text: str, tmp_path: Path) -> None:
    files = {"game/referee.py": text, "edits/strategies/__init__.py": ""}
    (fault,) = broken(layer_rules.plugins_are_loaded_by_name, tmp_path, files)
    assert fault.startswith("game/referee.py:")
    assert fault.endswith("it is loaded by name")


def test_a_plugin_named_in_data_is_fine(tmp_path: Path) -> None:
    text = "from importlib import import_module\ndef load(name): return import_module(f'auditors.{name}')"
    assert broken(layer_rules.plugins_are_loaded_by_name, tmp_path, {"game/referee.py": text}) == []


@pytest.mark.parametrize("path", ["game/__init__.py", "game/cli/__init__.py", "game/cli.py"])
@pytest.mark.parametrize(
    "text", ["import torch", "from game import api", "try:\n    import rich\nfinally:\n    pass"]
)
def test_a_slow_start_of_the_command_line_is_found(path: str, text: str, tmp_path: Path) -> None:
    (fault,) = broken(layer_rules.the_command_line_starts_light, tmp_path, {path: text})
    assert fault.endswith("slows the start of every command")


def test_the_command_line_may_import_anything_within_a_function(tmp_path: Path) -> None:
    text = (
        "import argparse\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
        "def main():\n    import torch, game.cli.demo\n"
    )
    files = {"game/cli/__init__.py": text, "game/cli/demo.py": "import torch"}
    assert broken(layer_rules.the_command_line_starts_light, tmp_path, files) == []


def test_a_circle_of_imports_is_found_once(tmp_path: Path) -> None:
    files = {
        "models/a.py": "from models import b",
        "models/b.py": "class B:\n    from models.c import C",
        "models/c.py": "import models.a",
        "models/d.py": "import models.a",
    }
    circles = broken(layer_rules.imports_run_in_no_circle, tmp_path, files)
    assert circles == ["models.a -> models.b -> models.c -> models.a"]


def test_a_module_that_imports_itself_is_a_circle(tmp_path: Path) -> None:
    circles = broken(layer_rules.imports_run_in_no_circle, tmp_path, {"models/a.py": "import models.a"})
    assert circles == ["models.a -> models.a"]


def test_imports_for_types_or_within_functions_make_no_circle(tmp_path: Path) -> None:
    files = {
        "models/a.py": "from models import b",
        "models/b.py": "import typing\nif typing.TYPE_CHECKING:\n    import models.a\n",
        "models/c.py": "def f():\n    import models.c",
    }
    assert broken(layer_rules.imports_run_in_no_circle, tmp_path, files) == []


@pytest.mark.parametrize("text", ["from . import base", "from .base import Edit", "from ..models import zoo"])
def test_a_relative_import_is_found(text: str, tmp_path: Path) -> None:
    found = broken(layer_rules.no_import_is_relative, tmp_path, {"edits/rome.py": text})
    assert found == ["edits/rome.py:1: relative import"]


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        # file                    fault
        ("models/utils.py", "utils says nothing"),
        ("game/helpers/time_left.py", "helpers says nothing"),
        ("edits/common.py", "common says nothing"),
        ("auditors/core/__init__.py", "core says nothing"),
        ("models/random.py", "random is a module of the standard library"),
        ("game/report/json.py", "json is a module of the standard library"),
        ("game/queue/first.py", "queue is a module of the standard library"),
    ],
)
def test_a_name_that_says_nothing_or_is_taken_is_found(path: str, fault: str, tmp_path: Path) -> None:
    assert broken(layer_rules.names_explain, tmp_path, {path: ""}) == [f"{path}: {fault}"]


@pytest.mark.parametrize("path", ["models/__init__.py", "game/__main__.py", "game/report/html_page.py"])
def test_a_name_that_explains_is_fine(path: str, tmp_path: Path) -> None:
    assert broken(layer_rules.names_explain, tmp_path, {path: ""}) == []


@pytest.mark.parametrize(
    ("text", "use"),
    [
        # code                                            use
        ("import pickle", "1: pickle"),
        ("from pickle import loads", "1: pickle"),
        ("import marshal as m", "1: marshal"),
        ("import torch\ntorch.load('x')", "2: torch.load"),
        ("import torch as t\nload = t.load", "2: torch.load"),
        ("from torch import load\nload('x')", "2: torch.load"),
        ("import yaml\nyaml.load('x', yaml.SafeLoader)", "2: yaml.load"),
        ("import yaml\nyaml.unsafe_load('x')", "2: yaml.unsafe_load"),
        ("eval('1')", "1: eval"),
        ("exec('1')", "1: exec"),
        ("run = exec", "1: exec"),
        ("import builtins\nbuiltins.eval('1')", "2: builtins.eval"),
        ("import os\nos.system('ls')", "2: os.system"),
        ("from subprocess import run\nrun('ls', shell=True)", "2: shell=True"),
        ("from subprocess import run\nrun('ls', shell=yes)", "2: shell=yes"),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", "2: allow_pickle=True"),
    ],
)
def test_a_door_for_code_that_comes_as_data_is_found(text: str, use: str, tmp_path: Path) -> None:
    found = broken(layer_rules.nothing_runs_data_as_code, tmp_path, {"game/runs/store.py": text})
    assert found == [f"game/runs/store.py:{use}"]


@pytest.mark.parametrize(
    "text",
    [
        "model.eval()",
        "from safetensors.torch import load\nload(b'')",
        "import yaml\nyaml.safe_load('a: 1')",
        "from subprocess import run\nrun(['ls'], shell=False)",
        "'never torch.load nor pickle'",
    ],
)
def test_harmless_namesakes_are_fine(text: str, tmp_path: Path) -> None:
    assert broken(layer_rules.nothing_runs_data_as_code, tmp_path, {"game/runs/store.py": text}) == []
