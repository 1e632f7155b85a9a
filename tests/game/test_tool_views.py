import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from game.drawing.cells import pooled
from game.drawing.colours import colour
from game.drawing.panels import Scale, drawing, word
from game.drawing.picture import result_picture
from game.drawing.terminal import result_lines, result_view, spark
from game.tools.kit.result import ToolResult
from tests.game.gallery import TASK, results

GALLERY = results()
NAMES = list(GALLERY)
WIDTHS = (80, 120)


def printed(result: ToolResult, width: int = 80, colours: bool = False, task: Any = TASK) -> str:
    console = Console(
        width=width,
        file=io.StringIO(),
        force_terminal=colours,
        color_system="truecolor" if colours else None,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(result_view(result, task))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_fits_the_terminal_without_colours(name: str, width: int) -> None:
    lines = printed(GALLERY[name], width).splitlines()
    assert max(map(len, lines)) <= width
    assert "\x1b" not in "".join(lines)
    assert any("largest share" in line and "stands out" in line for line in lines)


def test_words_stand_in_the_place_of_token_ids() -> None:
    with_words, without = (printed(GALLERY["02-tokens"], task=task) for task in (TASK, None))
    assert "Ada₉" in with_words
    assert "Oslo₀" in with_words
    assert "#2₉" in without
    assert "Ada" not in without
    assert "<pad>" not in with_words


def test_a_slice_is_named_and_what_is_left_out_is_told() -> None:
    result = GALLERY["00-heatmap"]
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(result_view(result, TASK, slices=2))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "prompt 0" in text
    assert "prompt 1" in text
    assert "prompt 2" not in text
    assert "... and 1 more like it" in text


def test_colours_run_from_blue_over_white_to_red_around_zero() -> None:
    scale = Scale(-2.0, 2.0, True)
    assert [colour(value, scale) for value in (-2.0, 0.0, 2.0, 9.0)] == [
        (33, 102, 172),
        (247, 247, 247),
        (178, 24, 43),
        (178, 24, 43),
    ]
    text = printed(GALLERY["11-compare"], colours=True)
    assert "48;2;178;24;43" in text  # a ground of the full red


def test_a_diverging_scale_reaches_as_far_to_both_sides() -> None:
    result = GALLERY["11-compare"]
    scale = drawing(result, result.view[0]).scale
    assert scale.low == -scale.high
    assert scale.high == pytest.approx(float(np.nanmax(np.abs(result.arrays["before_after"].numpy()))))


def test_numbers_outside_their_null_band_are_marked() -> None:
    lines = printed(GALLERY["04-bars"]).splitlines()
    marked = [line.split()[0] for line in lines if " * " in line]
    assert marked == ["attention", "mlp"]
    assert any(line.startswith("2 outside their null band") for line in lines)


def test_cells_without_room_stand_for_the_one_furthest_from_zero() -> None:
    values = np.zeros((3, 100))
    values[2, 57] = -5.0
    values[0, 3] = np.nan
    small, down, across = pooled(values, 40, 30)
    assert (small.shape, down, across) == ((3, 25), 1, 4)
    assert small[2, 14] == -5.0
    assert np.count_nonzero(small) == 1


def test_a_curve_is_drawn_on_its_scale() -> None:
    assert spark([0.0, 0.5, 1.0, float("nan")], Scale(0.0, 1.0, False)) == "▁▅█ "


def test_plain_lines_hold_the_figures_and_the_suspects() -> None:
    assert list(result_lines(GALLERY["04-bars"])) == [
        "cost\t12.5",
        "summary\tlargest share\t2.4\t-0.6\t0.6\t5",
        "summary\tmean\t0.3\t\t\t5",
        "suspect\tblocks.1.mlp\t2.4",
        "suspect\tblocks.0.attn.1\t0.5",
        "suspect\tembed\t0.2",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_is_a_picture_the_same_bytes_each_time(name: str) -> None:
    first, second = (result_picture(GALLERY[name], TASK) for _ in range(2))
    assert first.startswith(b"\x89PNG")
    assert first == second


def test_a_picture_may_be_svg_and_has_no_date() -> None:
    first, second = (result_picture(GALLERY["05-lines"], TASK, "svg") for _ in range(2))
    assert b"<svg" in first
    assert b"<dc:date>" not in first
    assert first == second


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_is_a_plotly_figure(name: str) -> None:
    pytest.importorskip("plotly")
    data = json.loads(GALLERY[name].figure(TASK).to_json())
    assert data["data"]
    assert data["layout"]["title"]["text"] == "gallery, 12.5 credits"


def test_equal_words_stay_apart_in_a_figure_and_the_pointer_tells_the_null_band() -> None:
    pytest.importorskip("plotly")
    attention = GALLERY["03-attention"].figure(TASK)
    assert len(attention.data[0].z) == 7
    assert list(attention.layout.xaxis.ticktext)[:3] == ["<bos>", "Ada", "Adler"]
    bars = GALLERY["04-bars"].figure(TASK)
    assert "null band: -0.6 to 0.6" in bars.data[-1].hovertext[0]


def test_a_token_without_a_task_is_a_number_and_padding_is_a_dot() -> None:
    assert [word(17, None), word(-1, None), word(TASK.pad, TASK), word(2, TASK)] == ["#17", "·", "·", "Ada"]
