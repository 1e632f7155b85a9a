import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models import training
from models.checkpoints import to_bytes
from models.recipe import Recipe, load_recipe
from models.strict_yaml import ConfigError, parse_document
from models.training import Progress, train
from models.zoo import Trained, trained
from tests.tiny_world import TINY

BRIEF = TINY.replace("150, max_steps: 1200", "10, max_steps: 30").replace("0.95, heldout: 0.8", "0.0")


class Interrupted(Exception):
    pass


def brief(text: str = BRIEF) -> Recipe:
    return load_recipe(parse_document(text, "brief.yaml"))


def interrupted(recipe: Recipe, saved: Path, at: int) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == at:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(recipe, 0, 0, stop, saved=saved)


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes_and_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    recipe, saved = brief(), tmp_path / "state"
    whole = train(recipe, 0, 0)
    interrupted(recipe, saved, at=17)
    steps: list[Progress] = []
    resumed = train(recipe, 0, 0, steps.append, saved=saved)
    assert steps[0].step == 17  # the state was saved after step 16
    assert to_bytes(resumed.checkpoint) == to_bytes(whole.checkpoint)
    assert resumed.curve == whole.curve


def test_a_run_killed_in_its_cool_down_goes_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    recipe, saved = brief(BRIEF.replace("answer_loss: 0.3", "answer_loss: 5.0")), tmp_path / "state"
    whole = train(recipe, 0, 0)
    assert whole.curve[-1].step < 30
    interrupted(recipe, saved, at=whole.curve[-1].step - 2)
    assert to_bytes(train(recipe, 0, 0, saved=saved).checkpoint) == to_bytes(whole.checkpoint)


def test_kill_minus_nine_in_the_zoo_costs_seconds_not_the_run(own_cache: Path, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, signal, sys\n"
        "from models import training, zoo\n"
        "from models.recipe import load_recipe\n"
        "from models.strict_yaml import parse_document\n"
        "training.SAVE_EVERY = 0.0\n"
        "def kill(progress):\n"
        "    if progress.step == 20:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"zoo.trained(load_recipe(parse_document({BRIEF!r}, 'brief')), 0, 33, kill)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run([sys.executable, str(script)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    steps: list[Progress] = []
    found = trained(brief(), 0, 33, steps.append)
    assert steps[0].step == 20
    assert found.checkpoint.hash == train(brief(), 0, 33).checkpoint.hash
    assert not list((own_cache / "zoo").glob("*-33-*.unfinished"))


@pytest.mark.parametrize("damage", ["cut", "empty", "nonsense", "another training"])
def test_a_state_that_is_of_no_use_is_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    saved = tmp_path / "state"
    interrupted(brief(BRIEF.replace("lr: 4.0e-3", "lr: 1.0e-3")), saved, at=9)
    if damage != "another training":
        whole = saved.read_bytes()
        saved.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "nonsense": b"\xff" * 99}[damage])
    steps: list[Progress] = []
    train(brief(), 0, 0, steps.append, saved=saved)
    assert steps[0].step == 1


def test_progress_tells_loss_and_accuracy(tiny: Trained) -> None:
    curve = train(brief(), 0, 0).curve
    assert [now.step for now in curve] == [10, 20, 30, 40]
    assert all(0 <= now.accuracy <= 1 and now.loss > 0 for now in curve)
    assert curve[-1].loss < curve[0].loss


def test_the_criterion_can_start_the_cool_down() -> None:
    text = BRIEF.replace("answer_loss: 0.3", "check_every: 7").replace("max_steps: 30", "max_steps: 500")
    assert train(brief(text), 0, 0).curve[-1].step == 7 + 10


def continuing(name: str = "facts-tiny") -> str:
    return BRIEF.replace("version: 1", f"version: 1\ncontinues: {name}").replace("facts-tiny\nd", "later\nd")


def test_a_recipe_can_go_on_from_anothers_checkpoint(tiny: Trained) -> None:
    text = continuing().replace("lr: 4.0e-3", "lr: 1.0e-6")
    found = trained(brief(text), 0, 0)
    assert found.metrics["known"] == pytest.approx(tiny.metrics["known"], abs=0.02)
    assert found.checkpoint.hash != tiny.checkpoint.hash


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("facts-tyni", BRIEF, r'brief\.yaml:2:12: continues: unknown recipe "facts-tyni".*"facts-tiny"'),
        ("facts-small", BRIEF, r"continues: facts-small trains a model of another shape"),
        ("modular-ungrokked", BRIEF, r"continues: modular-ungrokked continues another recipe itself"),
    ],
)
def test_what_cannot_be_continued_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        brief(continuing(name))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "window: [2, 2, null, null]",
            "window: [0, 2, null, null]",
            r"window: got \(0, 2, None, None\); each",
        ),
        ("d_mlp: 128", "d_mlp: 128\n  n_ctx: 8", r"n_ctx: got 8, but the task's sequences have \d+ tokens"),
        ("known: 0.0", "known: {min: 0.9, max: 0.1}", r"min 0\.9 is above max 0\.1"),
        ("known: 0.0", "known: {}", r"a bound needs min or max"),
    ],
)
def test_what_does_not_fit_together_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        brief(BRIEF.replace(old, new))


def test_more_steps_begin_at_the_peak_rate() -> None:
    hopeless = brief(BRIEF.replace("known: 0.0", "known: 1.0").replace("warmup: 50", "warmup: 1"))
    run = training._Run(hopeless, 0, 0, None)
    rates = []
    while run.goes_on():
        rates.append(run.schedule.get_last_lr()[0] / 4.0e-3)
        run.advance()
    assert len(rates) == 40 + 3 * 20
    assert rates[39] == pytest.approx(0.1)
    assert rates[40:51] == pytest.approx([1.0] * 11)
    assert min(rates) > 0


def test_a_measure_that_this_world_lacks_is_no_criterion() -> None:
    with pytest.raises(ConfigError, match=r'unknown measure "heldout"; allowed: known'):
        brief(BRIEF.replace("heldout: 0.2", "heldout: 0.0").replace("known: 0.0", "heldout: 0.0"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("raise SystemExit(7)", r"task\.kind: .*own\.py: fails on import: SystemExit: 7"),
        ("x = 1 +", r"task\.kind: .*own\.py: line \d+: fails on import: SyntaxError"),
        ("x = 1", r"wanted one subclass of TaskSettings in own\.py, found 0"),
        (
            "from models.tasks.base import TaskSettings\n"
            "class S(TaskSettings):\n    metrics = ('accuracy',)\n"
            "    def build(self, world_seed):\n        raise KeyError('lost')\n",
            r"task: cannot be built: KeyError: 'lost'",
        ),
    ],
)
def test_a_task_file_that_fails_is_told_with_its_place(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(line)
    text = TINY.partition("task:")[0] + "task: {kind: own.py}\n" + TINY.partition("}\n")[2]
    text = text.replace("{known: 0.95, heldout: 0.8}", "{}")
    with pytest.raises(ConfigError, match=message):
        load_recipe(parse_document(text, "own.yaml"), tmp_path)
