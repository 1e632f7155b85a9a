"""The measured matrix of edit kinds by tools, on a model that trains in seconds."""

import json
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.figures import Figure, Missing
from benchmarks.matrix import measured as measuring
from benchmarks.matrix.cells import Read
from benchmarks.matrix.figures import Outcome, auroc, hits, newcombe, outcome
from benchmarks.matrix.measured import measure
from benchmarks.matrix.page import heat_map, page, sentences
from benchmarks.matrix.pairs import Pair, Planter
from benchmarks.matrix.readings import LEFT_OUT, READINGS
from benchmarks.matrix.records import _TOOLS, Cell, _code, _imported, code_of_cell
from game.catalogue import tools
from models.zoo import Trained

TOOLS = ("spike", "lens", "progress")


def cell(number: int, edit: float, sham: float, ranks: tuple[int, ...] = (), written: int = 1) -> Cell:
    return Cell(
        "rome", number % 3, number, "untouched", "spike", "", 1.0, edit, sham, ranks, (9,), written, 10
    )


def test_every_tool_has_a_declared_figure_or_a_reason_why_not() -> None:
    assert {each.name for each in tools()} == READINGS.keys() | LEFT_OUT.keys()


def test_a_killed_run_goes_on_and_a_finished_one_is_not_measured_again(
    tiny: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measure("rome", "facts-tiny", 0, 1, TOOLS[:2], tmp_path)
    assert {each.tool for each in found} == set(TOOLS[:2])
    (path,) = tmp_path.iterdir()
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[:-1]) + whole[-1][:40])
    resumed = measure("rome", "facts-tiny", 0, 1, TOOLS, tmp_path)
    assert {each.tool for each in resumed} == set(TOOLS)
    values = {each.tool: (each.edit, each.sham, each.ranks) for each in resumed}
    assert all(values[each.tool] == (each.edit, each.sham, each.ranks) for each in found)
    assert json.loads(path.read_text().splitlines()[0]) == json.loads(whole[0])

    def no_planter(*_args: object) -> Planter:
        raise AssertionError("nothing is left to plant")

    monkeypatch.setattr(measuring, "Planter", no_planter)
    assert measure("rome", "facts-tiny", 0, 1, TOOLS, tmp_path) == resumed


def test_the_loud_edit_is_found_where_it_is_and_a_tool_that_does_not_fit_says_why(
    tiny: Trained, tmp_path: Path
) -> None:
    by_tool = {each.tool: each for each in measure("rome", "facts-tiny", 0, 1, TOOLS, tmp_path)}
    spike, progress = by_tool["spike"], by_tool["progress"]
    assert spike.edit is not None
    assert spike.sham is not None
    assert spike.edit > spike.sham
    assert spike.ranks == (1,)
    assert spike.places == 2
    assert progress.edit is None
    assert progress.missing == '--tokens: unknown class "numbers"'


def test_a_pair_is_the_same_whichever_attempts_came_before(tiny: Trained) -> None:
    fresh, seasoned = (Planter("rome", "facts-tiny", 0) for _ in range(2))
    made = ((number, seasoned.pair(number)) for number in range(1, 9))
    number, other = next((number, pair) for number, pair in made if isinstance(pair, Pair))
    one = fresh.pair(number)
    assert isinstance(one, Pair)
    assert one.edit.record.out_hash == other.edit.record.out_hash
    assert one.sham.record.out_hash == other.sham.record.out_hash
    assert one.edit.record.edited
    assert not one.sham.record.edited


def test_the_auroc_is_that_of_scikit_learn_within_an_interval_that_is_never_without_width() -> None:
    told = [cell(n, edit, sham) for n, (edit, sham) in enumerate([(3, 1), (2, 2), (0, 1), (5, 4), (1, 0)])]
    expected = roc_auc_score([1] * 5 + [0] * 5, [e.edit for e in told] + [e.sham for e in told])
    found = auroc(told)
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high
    apart = auroc([cell(n, 1.0, 0.0) for n in range(21)])
    assert (apart.value, apart.high) == (1, 1)
    assert 0.7 < apart.low < 1


def test_newcombe_interval_is_that_of_the_paper() -> None:
    low, high = newcombe(0.5, 20, 20)
    assert low == pytest.approx(1 - high)
    assert newcombe(0.0, 20, 20)[1] == pytest.approx(1 - newcombe(1.0, 20, 20)[0])


def test_a_hit_is_the_first_place_or_one_of_three_where_the_edit_is_spread() -> None:
    told = [cell(0, 1, 0, (1,)), cell(1, 1, 0, (2,)), cell(2, 1, 0, (3, 7), 2), cell(3, 1, 0, (4, 7), 2)]
    found = hits(told, [each.ranks for each in told])
    assert isinstance(found, Figure)
    assert found.value == 0.5
    assert found.peer == pytest.approx((0.1 + 0.1 + 2 * (1 - 56 / 120)) / 4)
    assert isinstance(hits([cell(0, 1, 0)], [()]), Missing)


def test_equals_share_the_worst_rank() -> None:
    read = Read(1.0, {"a": 1.0, "b": 1.0, "c": 0.0})
    assert (read.rank("a"), read.rank("b"), read.rank("c"), read.rank("d")) == (2, 2, 3, None)


def test_the_page_says_what_each_tool_is_blind_to() -> None:
    seen = outcome("spike", "rome", [cell(n, 1.0, 0.0, (1,)) for n in range(12)])
    blind = outcome("spike", "lora", [cell(n, n % 2, (n + n // 2) % 2) for n in range(12)])
    nowhere = Outcome("spike", "lie", 0, Missing("no"), Missing("no"), Missing("no"), 0.0, {})
    outcomes = {(each.tool, each.kind): each for each in (seen, blind, nowhere)}
    (sentence,) = sentences(outcomes)
    assert sentence == "`spike` is blind to lora; it tells rome; it was not run on lie."
    text = page(outcomes, "made so", "some models", "matrix.png")
    assert "| rome | 12 | 1.00 [" in text
    assert "Not run on lie: no." in text
    assert "| rome | 12 | 12 | 0 | 0 |" in text
    assert heat_map(outcomes).startswith(b"\x89PNG")


def test_a_cell_depends_on_its_tool_with_all_that_the_tool_imports() -> None:
    files = {file.name for file in _imported(_TOOLS / "spectrum.py", set())}
    assert {"spectrum.py", "arguments.py", "result.py", "view.py"} <= files
    assert "batches.py" not in files
    assert len({code_of_cell(tool) for tool in READINGS}) == len(READINGS)


def test_a_cell_does_not_depend_on_an_example_or_on_words(tmp_path: Path) -> None:
    source = (_TOOLS / "spike.py").read_text()
    other, changed = tmp_path / "other.py", tmp_path / "changed.py"
    head, _, rest = source.partition("EXAMPLE = Example(")
    bare = head.replace("from game.tools.kit.example import Example\n", "") + rest.partition("\n)\n")[2]
    other.write_text(bare.replace('"""', '"""In other words: ', 1))
    changed.write_text(source.replace("GAPS = 8", "GAPS = 9"))
    assert _code(_TOOLS / "spike.py") == _code(other) != _code(changed)
