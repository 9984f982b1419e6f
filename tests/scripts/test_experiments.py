"""What cells of the paper's tables share is composed once, and changes no cell."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import cli, experiments
from scripts.cli import UsageError, plain
from scripts.experiments import compose_cell

GIVEN = ("task.vectors=glove.txt",)


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every experiment that is composed, as it comes."""
    names: list[str] = []
    compose = cli.compose_config

    def watched(overrides: list[str], name: str = "train") -> object:
        names.extend(word.partition("=")[2] for word in overrides if word.startswith("experiment="))
        return compose(overrides, name)

    caches = (experiments._recipe, experiments._composed, experiments._attention)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(cli, "compose_config", watched)
    yield names
    for cached in caches:
        cached.cache_clear()


def test_a_cell_that_shares_is_what_it_composes_to(composed: list[str]) -> None:
    for mapping in ("softmax", "fusedmax", "pnormmax"):
        shared = compose_cell("paper", "snli", mapping, (*GIVEN, "seed=3"))
        alone = cli.compose_config([f"experiment=paper_snli_{mapping}", *GIVEN, "seed=3"])
        assert plain(shared) == plain(alone)
    assert composed.count("paper_snli_softmax") == 2 and composed.count("paper_snli_fusedmax") == 1


def test_one_copy_does_not_change_the_next(composed: list[str]) -> None:
    compose_cell("mini", "snli", "softmax").seed = 9
    assert compose_cell("mini", "snli", "softmax").seed == 1
    assert composed == ["mini_snli_softmax"]


@pytest.mark.parametrize("arguments", [("attention.gamma=0.5",), ("attention=softmax",)])
def test_an_argument_on_attention_is_kept(composed: list[str], arguments: tuple[str, ...]) -> None:
    config = compose_cell("mini", "snli", "fusedmax", arguments)
    assert composed == ["mini_snli_fusedmax"]
    wanted = "Fusedmax" if "gamma" in arguments[0] else "Softmax"
    assert config.attention._target_ == f"regattn.{wanted}"
    assert config.attention.gamma == (0.5 if "gamma" in arguments[0] else 1.0)


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of configs/ to change."""
    copied = shutil.copytree(cli.CONFIGS, tmp_path / "configs")
    monkeypatch.setattr(cli, "CONFIGS", copied)
    return copied


def test_an_experiment_with_more_of_its_own_shares_nothing(composed: list[str], configs: Path) -> None:
    with (configs / "experiment" / "mini_snli_fusedmax.yaml").open("a") as file:
        file.write("\nseed: 7\n")
    seeds = [compose_cell("mini", "snli", mapping).seed for mapping in ("softmax", "fusedmax", "oscarmax")]
    assert seeds == [1, 7, 1]
    assert composed == ["mini_snli_softmax", "mini_snli_fusedmax"]


def test_what_the_base_of_all_says_of_attention_holds_for_all(composed: list[str], configs: Path) -> None:
    with (configs / "experiment" / "translation_small.yaml").open("a") as file:
        file.write("\nattention:\n  gamma: 2\n")
    cells = [compose_cell("small", "translation", mapping) for mapping in ("softmax", "fusedmax", "oscarmax")]
    assert [cell.attention.gamma for cell in cells] == [2, 2, 2]


def test_a_cell_without_an_experiment_is_refused() -> None:
    with pytest.raises(UsageError, match=r"experiment must be one of .*, got .large_snli_softmax"):
        compose_cell("large", "snli", "softmax")
