"""Every config composes, and what is wrong in one is said in one sentence before any work begins."""

import shutil
from pathlib import Path

import pytest
from hydra.utils import instantiate

import regattn
from scripts.cli import UsageError
from scripts.runs import config
from scripts.runs.config import CONFIGS, read_config
from scripts.runs.setup import set_up
from tasks.seq2seq.model import ModelSettings
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.text import BatchSettings, TextSettings
from tasks.training.optim import SGD
from tasks.training.settings import TrainerSettings

MAPPINGS = sorted(path.stem for path in (CONFIGS / "attention").glob("*.yaml"))


def group(name: str) -> list[str]:
    return [
        str(path.relative_to(CONFIGS / name).with_suffix("")) for path in (CONFIGS / name).rglob("*.yaml")
    ]


def test_every_public_mapping_has_a_config() -> None:
    assert set(MAPPINGS) == set(regattn.MAPPINGS)


@pytest.mark.parametrize("name", MAPPINGS)
def test_an_attention_config_is_its_mapping(name: str) -> None:
    mapping = instantiate(read_config([f"attention={name}"]).attention)
    assert mapping.function is getattr(regattn, name)


@pytest.mark.parametrize("name", MAPPINGS)
def test_what_fuses_stays_where_gamma_alone_is_changed(name: str) -> None:
    defaults = regattn.MAPPINGS[name].defaults
    for gamma in (1.0, 4.0, 0.5):
        attention = read_config([f"attention={name}", f"attention.gamma={gamma}"]).attention
        if "lam" in defaults:
            assert attention.gamma * attention.lam == pytest.approx(defaults["lam"], rel=1e-15)
    if "lam" in defaults:
        both = read_config([f"attention={name}", "attention.gamma=4", "attention.lam=0.3"]).attention
        assert (both.gamma, both.lam) == (4.0, 0.3)


def test_a_set_of_strengths_gives_each_mapping_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = shutil.copytree(CONFIGS, tmp_path / "configs")
    (configs / "strengths" / "mine").mkdir()
    (configs / "strengths" / "mine.yaml").write_text("# @package _global_\n")
    (configs / "strengths" / "mine" / "fusedmax.yaml").write_text("gamma: 8.0\n")
    (configs / "strengths" / "mine" / "pnormmax.yaml").write_text("p: 1.2\n")
    monkeypatch.setattr(config, "CONFIGS", configs)

    def strengths(*overrides: str) -> dict[str, float]:
        attention = read_config(["strengths=mine", *overrides]).attention
        return {name: attention[name] for name in ("gamma", "lam", "p") if name in attention}

    assert strengths("attention=fusedmax") == {"gamma": 8.0, "lam": 0.0125}
    assert strengths("attention=pnormmax") == {"gamma": 1.0, "p": 1.2}
    assert strengths("attention=softmax") == {"gamma": 1.0}  # which has no file there
    assert strengths("attention=fusedmax", "attention.gamma=2") == {"gamma": 2.0, "lam": 0.05}
    with pytest.raises(UsageError, match=r"strengths must be one of .*mine, .*got 'yours'"):
        read_config(["strengths=yours"])


NEEDS = {
    "snli/folder": ["data.root=folder"],
    "snli/subset": ["data.root=folder"],
    "gigaword/folder": ["data.root=folder"],
    "gigaword/headlines": ["data.root=folder"],
    "translation/folder": ["data.root=folder"],
    "translation/multi30k": ["data.root=folder"],
    "translation/tatoeba_french": ["data.root=folder"],
    "small/snli": ["data.root=folder"],
    "small/snli_decomposable": ["data.root=folder"],
    "small/snli_decomposable_tuned": ["data.root=folder"],
    "small/snli_untuned": ["data.root=folder"],
    "small/gigaword": ["data.root=folder"],
    "small/gigaword_tuned": ["data.root=folder"],
    "small/translation": ["data.root=folder"],
    "small/translation_alignment": ["data.root=folder"],
    "small/translation_opennmt": ["data.root=folder"],
    "small/translation_tuned": ["data.root=folder"],
    "small/translation_uniform": ["data.root=folder"],
    "paper/snli": ["task.vectors=glove.txt"],
    "paper/translation": ["data.root=folder"],
}


@pytest.mark.parametrize("name", group("data"))
def test_every_data_config_composes(name: str) -> None:
    task = name.split("/")[0]
    config = read_config([f"task={task}", f"data={name}", *NEEDS.get(name, [])])
    assert config.tier == ("mini" if name.endswith("mini") else "small")


@pytest.mark.parametrize("name", group("experiment"))
def test_an_experiment_is_of_its_tier_and_task(name: str) -> None:
    tier, task = name.split("/")
    config = read_config([f"experiment={name}", *NEEDS.get(name, [])])
    assert config.tier == tier and task.split("_")[0] == config.task_name


@pytest.mark.parametrize("task", ["translation", "gigaword"])
def test_the_paper_encoder_decoder_is_the_default_of_its_classes(task: str) -> None:
    config = read_config([f"experiment=paper/{task}", *NEEDS.get(f"paper/{task}", [])])
    assert ModelSettings(**config.task.model) == ModelSettings()
    assert BatchSettings(**config.task.batches) == BatchSettings()
    assert SearchSettings(**config.task.search) == SearchSettings()
    assert SGD(**{name: value for name, value in config.optim.items() if name != "_target_"}) == SGD()
    assert config.task.text.vocab_size == TextSettings().vocab_size == 50_000
    assert (config.trainer.epochs, config.trainer.clip_norm) == (13, 5.0)


def test_the_paper_recipe_is_the_default() -> None:
    config = read_config(["data=snli/snli"])
    assert (config.optim.lr, config.task.dropout, config.task.train_vectors) == (3e-4, 0.1, False)
    assert (list(config.optim.betas), config.optim.eps) == ([0.9, 0.999], 1e-8)


WRONG = [
    ("attention=fusemax", "attention must be one of", "did you mean fusedmax?"),
    ("trainer.epoch=3", "trainer has", "did you mean epochs?"),
    ("+trainer.epoch=3", "trainer has", "did you mean epochs?"),
    ("+nonsense=1", "nonsense is no key", "the config has"),
    ("sed=3", "sed is no key", "did you mean seed?"),
    ("attention.lam=abc", "attention.lam", "'abc'"),
    ("trainer.epochs=1.5", "trainer.epochs", "'1.5'"),
    ("data=snli/folder", "data.root must be given", "got nothing"),
    ("experiment=paper/snli", "task.vectors must be given", "got nothing"),
]


@pytest.mark.parametrize(("override", "wanted", "got"), WRONG)
@pytest.mark.measures("bad config")
def test_a_wrong_key_or_type_is_refused(override: str, wanted: str, got: str) -> None:
    with pytest.raises(UsageError) as error:
        read_config(["attention=fusedmax", override])
    assert wanted in str(error.value)
    assert got in str(error.value)
    assert "\n" not in str(error.value)


OUT_OF_RANGE = [
    ("attention.lam=-1", "lam must be finite and at least 0, got -1"),
    ("attention.gamma=0", "gamma must be finite and above 0, got 0"),
    ("attention.lam=nan", "lam must be finite and at least 0, got nan"),
    ("trainer.epochs=0", "epochs must be an integer of at least 1, got 0"),
    ("optim.lr=0", "lr must be a number above 0"),
    ("task.dropout=1", "dropout must be a number of at least 0 and below 1, got 1"),
    ("task.batch_size=0", "batch_size must be an integer of at least 1 and at most 65,536, got 0"),
    ("task.hidden_size=0", "hidden_size must be an integer of at least 1, got 0"),
    ("data.train=10", "train must be a positive multiple of 3, got 10"),
    ("seed=-1", "seed must be an integer of at least 0 and below 4,294,967,296, got -1"),
]


@pytest.mark.parametrize(("override", "sentence"), OUT_OF_RANGE)
@pytest.mark.measures("bad config")
def test_a_value_out_of_range_is_refused(override: str, sentence: str) -> None:
    config = read_config(["attention=fusedmax", "data.train=30", "data.dev=3", "data.test=3", override])
    with pytest.raises(Exception, match=sentence):
        set_up(config)


def test_every_optimizer_is_built_with_its_own_keys() -> None:
    small = ["data.train=3", "data.dev=3", "data.test=3"]
    built = {name: set_up(read_config([*small, f"optim={name}"])) for name in ("adam", "adamw", "sgd")}
    assert [type(setup.optim).__name__ for setup in built.values()] == ["Adam", "AdamW", "SGD"]
    assert len({setup.id for setup in built.values()}) == 3
    with pytest.raises(UsageError, match="weight_decay"):
        read_config(["optim=sgd", "optim.weight_decay=0.1"])
    sgd = read_config(["optim=sgd", "data=snli/snli"]).optim
    assert (sgd.lr, sgd.decay, sgd.start_decay_at, sgd.metric) == (1.0, 0.5, 8, "perplexity")


def test_a_run_keeps_its_name_from_release_to_release() -> None:
    small = ["data.train=3", "data.dev=3", "data.test=3"]
    assert set_up(read_config(small)).id == "snli-softmax-mini-s1-946b8eba"


def test_a_choice_changes_the_run_but_a_display_does_not(tmp_path: Path) -> None:
    small = ["data.train=3", "data.dev=3", "data.test=3"]
    base = set_up(read_config(small)).id
    assert set_up(read_config([*small, "progress=false", f"output_dir={tmp_path}"])).id == base
    for override in ("seed=2", "attention=sparsemax", "optim.lr=0.1", "data.seed=2"):
        assert set_up(read_config([*small, override])).id != base, override


def test_to_debug_is_to_write_few_outputs() -> None:
    trainer = TrainerSettings(**read_config(["debug=tiny"]).trainer)
    assert all(0 < (trainer.items(split) or 0) <= 64 for split in ("dev", "test", "another"))
