"""A picture shows every weight, boxes every merged stretch, and is the same file each time."""

import itertools
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from regattn._heatmap import Panel, merged_stretches
from scripts.style import draw_panels, whole_words
from tasks.attention import AttentionGrid
from tasks.data import files

WEIGHTS = np.array([[0.1, 0.1, 0.0, 0.3, 0.2, 0.1, 0.2], [0.25, 0, 0.25, 0, 0.25, 0, 0.25]])
GROUPS = np.array([[1, 1, 0, 2, 3, 1, 3], [4, 0, 4, 0, 5, 0, 5]])
WORDS = ["žluťoučký", "kůň", "größte", "Straße", "œuvre", "déjà-vu", "$x_1$"]
PAD, CELL = 15, 57  # pixels: 0.1 and 0.38 inches


def draw_attention(
    path: Path, weights: Any, source: Any, target: Any = None, groups: Any = None, title: str = ""
) -> None:
    """A picture of one panel."""
    draw_panels(path, [[Panel(title, weights, source, target, groups)]])


def picture(folder: Path, weights: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Draw cells only, and read the pixels back, (height, width, 3)."""
    draw_attention(folder / "cells.png", weights, [""] * weights.shape[1], None, groups)
    return imread(folder / "cells.png")[..., :3]


def pixel(image: np.ndarray, row: float, column: float) -> np.ndarray:
    return image[PAD + int(CELL * row), PAD + int(CELL * column)]


def boxes(image: np.ndarray, row: int, colour: str) -> list[tuple[int, int]]:
    """First and last cell of every run of a colour along the upper edge of a row's boxes."""
    line = image[PAD + int(CELL * (row + 0.05)), PAD:]
    hits = np.all(np.abs(line - to_rgb(colour)) < 0.02, axis=-1).tolist()
    runs = [list(run) for hit, run in itertools.groupby(range(len(hits)), hits.__getitem__) if hit]
    return [(run[0] // CELL, run[-1] // CELL) for run in runs]


def test_zeros_are_white_and_heavier_cells_darker(tmp_path: Path) -> None:
    image = picture(tmp_path, np.array([[0.0, 1e-9, 0.1, 0.5], [1.0, 0.7, 0.0, 0.3]]))
    order = [(0, 0), (0, 1), (0, 2), (1, 3), (0, 3), (1, 1), (1, 0)]
    light = [float(pixel(image, row + 0.25, column + 0.3).sum()) for row, column in order]
    assert light[0] == 3.0 and light == sorted(light, reverse=True) and len(set(light)) == len(light)
    np.testing.assert_array_equal(pixel(image, 1.25, 2.3), 1.0)


def test_every_stretch_of_a_merged_group_has_one_box(tmp_path: Path) -> None:
    image = picture(tmp_path, WEIGHTS, GROUPS)
    first, second = "#d95f02", "#7b3294"
    assert boxes(image, 0, first) == [(0, 1), (5, 5)]
    assert boxes(image, 0, second) == [(4, 4), (6, 6)]
    assert boxes(image, 1, first) == [(0, 0), (2, 2)]
    assert boxes(image, 1, second) == [(4, 4), (6, 6)]


def test_merged_stretches() -> None:
    stretches = merged_stretches(np.array([0, 7, 7, 3, 0, 2, 7, 3, 9]))
    assert [stretch[:2] for stretch in stretches] == [(1, 3), (3, 4), (6, 7), (7, 8)]
    assert stretches[0][2] == stretches[2][2] != stretches[1][2] == stretches[3][2]
    assert merged_stretches(np.array([0, 1, 2, 0])) == []
    assert len({colour for *_, colour in merged_stretches(np.repeat(np.arange(1, 9), 2))}) > 5


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_same_file_each_time(tmp_path: Path, suffix: str) -> None:
    files = [tmp_path / "not" / "there" / f"a{suffix}", tmp_path / f"b{suffix}"]
    before = dict(matplotlib.rcParams)
    draw_attention(files[0], WEIGHTS, WORDS, ["x", "y"], GROUPS, title="groups")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"axes.facecolor": "black", "savefig.dpi": 20, "font.size": 30}):
        draw_attention(files[1], WEIGHTS, WORDS, ["x", "y"], GROUPS, title="groups")
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_picture_that_is_cut_off_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "a.png"
    draw_attention(path, WEIGHTS, WORDS, None, GROUPS)
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files.os, "fsync", fail)
        draw_attention(path, WEIGHTS[:1], WORDS, None, GROUPS[:1])
    assert list(path.parent.iterdir()) == [path] and path.read_bytes() == before


def test_words_of_any_language_are_written_as_they_are(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing letter is a warning
        draw_attention(tmp_path / "a.svg", WEIGHTS, WORDS, ["„Größe“", "ďábelské"], title="100 $ or 5 $ — œ")


def test_the_font_has_the_letters_of_french_german_and_czech(tmp_path: Path) -> None:
    letters = ["àâæçéèêëîïôœùûüÿ«»’", "äöüß„“–", "áčďéěíňóřšťúůýž", "▁"]
    words = [*letters, *map(str.upper, letters)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_attention(tmp_path / "a.png", np.eye(len(words)), words, words)


def test_long_and_square(tmp_path: Path) -> None:
    draw_attention(tmp_path / "long.png", np.full((1, 40), 1 / 40), ["word"] * 40)
    draw_attention(tmp_path / "square.png", np.eye(30), ["word"] * 30, ["word"] * 30)
    long, square = imread(tmp_path / "long.png"), imread(tmp_path / "square.png")
    assert long.shape[0] < 200 and 2000 < long.shape[1] < 2500
    assert all(1500 < side < 2100 for side in square.shape[:2])


def size(path: Path, lines: list[list[Panel]]) -> tuple[int, int]:
    """Height and width of a picture of these panels."""
    draw_panels(path, lines)
    height, width = imread(path).shape[:2]
    return height, width


def test_panels_stand_side_by_side_or_flat_ones_below_each_other(tmp_path: Path) -> None:
    names = ("softmax", "fusedmax", "oscarmax")
    flat = size(tmp_path / "a.png", [[Panel(name, WEIGHTS, WORDS, ["x", "y"], GROUPS) for name in names]])
    wide = size(tmp_path / "b.png", [[Panel(name, np.tile(WEIGHTS, (3, 1)), WORDS) for name in names]])
    assert flat[1] < 2 * 7 * CELL and flat[0] > 3 * 2 * CELL
    assert wide[1] > 3 * 7 * CELL and wide[0] < 2 * 6 * CELL


def test_every_panel_has_words_and_rows_of_its_own(tmp_path: Path) -> None:
    short, long = Panel("a", WEIGHTS, WORDS, ["x", "y"]), Panel("b", np.eye(9), ["s"] * 9, ["long word"] * 9)
    together = size(tmp_path / "a.png", [[short, long]])
    apart = size(tmp_path / "b.png", [[short], [long]])
    alone = size(tmp_path / "c.png", [[long]])
    assert together[1] > (7 + 9) * CELL + 60 > apart[1] and apart[0] > together[0] >= alone[0]
    # Words that a panel shares with its neighbour to the left are not written again.
    shared = size(tmp_path / "d.png", [[long, long]])
    other = Panel("b", np.eye(9), ["s"] * 9, ["other word"] * 9)
    assert shared[1] + 60 < size(tmp_path / "e.png", [[long, other]])[1]


def test_a_line_breaks_before_its_words_become_too_small(tmp_path: Path) -> None:
    panel = Panel("", np.eye(20), ["s"] * 20, ["t"] * 20)
    sizes = [size(tmp_path / "a.png", [[panel] * count]) for count in (1, 3, 8)]
    assert all(width < 17.5 * 150 for _, width in sizes)
    assert sizes[1][0] < sizes[0][0]  # smaller cells, one line
    assert sizes[2][0] > 1.5 * 20 * 0.14 * 150


def test_borders_only_where_there_are_zeros_to_tell_from(tmp_path: Path) -> None:
    full, sparse = np.full((1, 4), 0.25), np.array([[0.25, 0.25, 0.5, 0.0]])
    edge, inside = 1.0, 1.2  # between the first two cells of one shade, and beside
    images = [picture(tmp_path, weights) for weights in (full, sparse)]
    differ = [np.abs(pixel(image, 0.2, edge) - pixel(image, 0.2, inside)).max() > 0.1 for image in images]
    assert differ == [False, True]


def test_no_global_figures_are_kept() -> None:
    code = "import sys, scripts.style; sys.exit('matplotlib.pyplot' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": WEIGHTS[0]}, r"weights must have shape \(2, 7\) .*, got \(7,\)"),
        ({"weights": WEIGHTS[0], "target": None}, r"weights must have shape \(1, 7\) .*, got \(7,\)"),
        ({"weights": WEIGHTS.T}, r"weights must have shape \(2, 7\) .*, got \(7, 2\)"),
        ({"source": [], "weights": np.ones((2, 0))}, r"at least one row and one column, got shape \(2, 0\)"),
        ({"weights": WEIGHTS - 0.2}, r"weights must lie in \[0, 1\], got -0.2 ... "),
        ({"weights": WEIGHTS * np.nan}, r"weights must lie in \[0, 1\], got nan"),
        ({"groups": GROUPS[:1]}, r"groups must be integers of shape \(2, 7\), got int64 \(1, 7\)"),
        ({"groups": GROUPS * 1.0}, r"groups must be integers of shape \(2, 7\), got float64 \(2, 7\)"),
    ],
)
def test_refusals(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    usual = {"path": "a.png", "weights": WEIGHTS, "source": WORDS, "target": ["x", "y"], "groups": GROUPS}
    arguments = usual | change
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises(ValueError, match=message):
        draw_attention(**arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lines", [[], [[]]])
def test_no_panels_are_refused(tmp_path: Path, lines: list[list[Panel]]) -> None:
    with pytest.raises(ValueError, match="a picture must have at least one panel, got none"):
        draw_panels(tmp_path / "a.png", lines)


# ------------------------------------------------------------------ whole words
PIECES = ("▁the", "▁n", "asse", "▁Wie", "se", ".")
ROWS = torch.tensor([[0.1, 0.2, 0.3, 0.0, 0.4, 0.0], [0.0, 0.5, 0.5, 0.0, 0.0, 0.0], [1.0, 0, 0, 0, 0, 0]])


def test_pieces_of_words_are_drawn_as_words() -> None:
    groups = torch.tensor([[1, 2, 2, 0, 3, 0], [0, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    found = whole_words(AttentionGrid.of(PIECES, ("▁me", "adow", "▁x"), ROWS, groups))
    assert found.source == ["the", "nasse", "Wiese", "."] and found.target == ["meadow", "x"]
    weights = torch.tensor(found.weights)
    torch.testing.assert_close(weights, torch.tensor([[0.05, 0.75, 0.2, 0.0], [1.0, 0, 0, 0]]))
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert found.groups == [[0, 0, 0, 0], [1, 0, 0, 0]]  # a mean of rows has no groups


def test_a_word_is_in_a_group_if_all_its_pieces_are() -> None:
    groups = torch.tensor([[2, 2, 2, 0, 2, 0]])
    found = whole_words(AttentionGrid.of(PIECES, ("▁x",), ROWS[:1], groups))
    assert found.groups == [[2, 2, 0, 0]]


def test_words_stay_as_they_are() -> None:
    grid = AttentionGrid.of(("a", "b"), ("c",), torch.tensor([[0.5, 0.5]]), torch.tensor([[1, 1]]))
    assert whole_words(grid) is grid


def test_named_axes_stand_outside_the_cells_with_the_scale(tmp_path: Path) -> None:
    panel = Panel("", np.eye(4), ["s"] * 4, ["t"] * 4)
    draw_panels(tmp_path / "plain.png", [[panel]])
    draw_panels(tmp_path / "named.png", [[panel]], "source", "output")
    plain, named = (imread(tmp_path / f"{name}.png") for name in ("plain", "named"))
    assert named.shape[0] > plain.shape[0] and named.shape[1] > plain.shape[1] + 60
