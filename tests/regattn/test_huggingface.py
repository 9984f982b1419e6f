"""The mappings inside transformers' models: tiny ones with random weights, nothing from the hub."""

from __future__ import annotations

import pytest
import torch

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install 'regattn[transformers]'"
)

import regattn  # noqa: E402
from regattn import huggingface  # noqa: E402
from tests.mappings import OF_OMEGA  # noqa: E402

WORDS, NAMES = 50, OF_OMEGA
DECODER = {"hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 16}
GROUPED = {**DECODER, "num_key_value_heads": 2, "head_dim": 4}
ENDLESS = {"vocab_size": WORDS, "eos_token_id": None, "forced_eos_token_id": None, "pad_token_id": 0}
# The class of the model, its config, its sizes.
MODELS = {
    "bert": ("MaskedLM", "BertConfig", DECODER),
    "llama": ("CausalLM", "LlamaConfig", GROUPED),
    "mistral": ("CausalLM", "MistralConfig", {**GROUPED, "sliding_window": 3}),
    "gpt2": ("CausalLM", "GPT2Config", {"n_embd": 16, "n_head": 4, "n_layer": 2}),
    "t5": ("Seq2SeqLM", "T5Config", {"d_model": 16, "d_kv": 4, "num_heads": 4, "num_layers": 2, "d_ff": 16}),
    "bart": (
        "Seq2SeqLM",
        "BartConfig",
        {
            "d_model": 16,
            "encoder_layers": 2,
            "decoder_layers": 2,
            **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
            **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 16),
        },
    ),
}
GENERATING = [name for name in MODELS if name != "bert"]


@pytest.fixture(scope="module", autouse=True)
def registered():
    transformers.logging.set_verbosity_error()
    huggingface.register()


def tiny(name: str, attention: str, **options):
    """The same weights whatever the attention, large enough that scores differ."""
    kind, config, sizes = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, config)(**sizes, **ENDLESS, decoder_start_token_id=0, **options)
    factory = getattr(transformers, f"AutoModelFor{kind}")
    model = factory.from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)
    return model


def batch(name: str, side: str = "right") -> dict[str, torch.Tensor]:
    """Two rows, of which the second is padded by three."""
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(3, WORDS, (2, 7), generator=generator)
    mask = torch.ones_like(words)
    mask[1, slice(4, None) if side == "right" else slice(0, 3)] = 0
    given = {"input_ids": words * mask, "attention_mask": mask}
    if MODELS[name][0] == "Seq2SeqLM":
        given["decoder_input_ids"] = torch.randint(3, WORDS, (2, 5), generator=generator)
    return given


def seen(name: str, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """Positions of the logits that are no padding."""
    return given.get("decoder_input_ids", given["attention_mask"]) > 0


def all_weights(output) -> list[torch.Tensor]:
    return [w for key, value in output.items() if key.endswith("attentions") for w in value]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", MODELS)
def test_softmax_is_eager(name, side):
    given, results, gradients = batch(name, side), [], []
    for attention in ("regattn_softmax", "eager"):
        model = tiny(name, attention)
        logits = model(**given).logits[seen(name, given)]
        logits.square().sum().backward()
        results.append(logits)
        gradients.append({key: p.grad for key, p in model.named_parameters()})
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(*gradients, atol=1e-2, rtol=1e-3)


VISION = {**DECODER, "image_size": 16, "patch_size": 4}
TEXT, TEXT_GROUPED = {**DECODER, "vocab_size": WORDS}, {**GROUPED, "vocab_size": WORDS}
OTHERS = {
    "RobertaConfig": TEXT,
    "ModernBertConfig": {**TEXT, "pad_token_id": 0, "local_attention": 4},
    "GPTNeoXConfig": TEXT,
    "Qwen3Config": TEXT_GROUPED,
    "Gemma3TextConfig": {**TEXT_GROUPED, "sliding_window": 3},
    "MixtralConfig": {**TEXT_GROUPED, "num_local_experts": 2, "num_experts_per_tok": 1},
    "ViTConfig": VISION,
    "CLIPVisionConfig": VISION,
}


@pytest.mark.parametrize("config", OTHERS)
def test_softmax_is_eager_and_sparsemax_is_not_in_other_models(config):
    sees = OTHERS[config] is VISION
    given = {"pixel_values": torch.randn(2, 3, 16, 16)} if sees else batch("bert")
    outputs = []
    for attention in ("eager", "regattn_softmax", "regattn_sparsemax"):
        torch.manual_seed(0)
        made = getattr(transformers, config)(**OTHERS[config], initializer_range=0.5)
        model = transformers.AutoModel.from_config(made, attn_implementation=attention).eval()
        output = model(**given).last_hidden_state
        outputs.append(output if sees else output[given["attention_mask"] > 0])
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-4, rtol=1e-4)
    assert (outputs[2] - outputs[0]).abs().max() > 0.01


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_sparse_and_padding_gets_none(name):
    given = batch(name)
    output = tiny(name, "regattn_fusedmax")(**given, output_attentions=True)
    softmax = tiny(name, "regattn_softmax")(**given, output_attentions=True)
    assert not torch.allclose(output.logits, softmax.logits, atol=1e-3)
    assert len(all_weights(output)) == (6 if "decoder_input_ids" in given else 2)
    for weights, dense in zip(all_weights(output), all_weights(softmax), strict=True):
        sums = weights.sum(-1)  # 0 where padding with a sliding window may attend to nothing
        torch.testing.assert_close(sums[0], torch.ones_like(sums[0]))
        torch.testing.assert_close(sums[1], sums[1].round())
        assert (weights[0] == 0).sum() > (dense[0] == 0).sum()
        if weights.shape[-1] == 7:
            assert (weights[1, ..., 4:] == 0).all()


@pytest.mark.parametrize("attention", NAMES)
@pytest.mark.parametrize("name", MODELS)
def test_padding_cannot_be_seen(name, attention):
    given = batch(name)
    model = tiny(name, f"regattn_{attention}")
    alone = {key: x[1:] if key == "decoder_input_ids" else x[1:, :4] for key, x in given.items()}
    got, wanted = model(**given).logits[1:], model(**alone).logits
    torch.testing.assert_close(got[:, : wanted.shape[1]], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", GENERATING)
def test_the_future_cannot_be_seen(name):
    given = batch(name)
    model = tiny(name, "regattn_fusedmax")
    words = "decoder_input_ids" if "decoder_input_ids" in given else "input_ids"
    given["attention_mask"][:] = 1
    before = model(**given).logits
    given[words] = torch.cat([given[words][:, :-1], (given[words][:, -1:] + 1) % WORDS], 1)
    torch.testing.assert_close(model(**given).logits[:, :-1], before[:, :-1])


def test_the_sliding_window():
    output = tiny("mistral", "regattn_softmax")(**batch("mistral"), output_attentions=True)
    distance = torch.arange(7).unsqueeze(1) - torch.arange(7)
    inside = (distance >= 0) & (distance < 3)
    for weights in output.attentions:
        assert ((weights[0] > 0) == inside).all()


@pytest.mark.parametrize("attention", ["sparsemax", "fusedmax"])
@pytest.mark.parametrize("name", GENERATING)
def test_generation_with_and_without_a_cache(name, attention):
    given = batch(name, "left")
    given.pop("decoder_input_ids", None)
    model = tiny(name, f"regattn_{attention}")
    options = {"max_new_tokens": 6, "do_sample": False}
    options |= dict.fromkeys(("output_scores", "return_dict_in_generate"), True)
    plain = model.generate(**given, **options, use_cache=False)
    for cache in ({"use_cache": True}, {"cache_implementation": "static", "disable_compile": True}):
        cached = model.generate(**given, **options, **cache)
        assert cached.sequences.equal(plain.sequences)
        torch.testing.assert_close(cached.scores, plain.scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("attention", NAMES)
@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_a_training_step(name, attention):
    given = batch(name)
    model = tiny(name, f"regattn_{attention}").train()
    labels = given.get("decoder_input_ids", given["input_ids"])
    given.pop("decoder_input_ids", None)
    before = model(**given, labels=labels).loss
    before.backward()
    gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert any(g.abs().sum() > 0 for key, g in gradients.items() if ".q" in key)


def test_dropout_in_training_alone():
    given = batch("llama")
    model = tiny("llama", "regattn_sparsemax", attention_dropout=0.5)
    assert model(**given).logits.equal(model(**given).logits)
    assert not model.train()(**given).logits.equal(model(**given).logits)


def test_a_saved_model_loads_with_an_attention_by_name(tmp_path):
    model, given = tiny("llama", "regattn_fusedmax"), batch("llama")
    model.save_pretrained(tmp_path)
    factory = transformers.AutoModelForCausalLM
    again = factory.from_pretrained(tmp_path, attn_implementation="regattn_fusedmax").eval()
    torch.testing.assert_close(again(**given).logits, model(**given).logits)
    plain = factory.from_pretrained(tmp_path).eval()
    assert plain.config._attn_implementation == "sdpa"
    plain.set_attn_implementation("regattn_fusedmax")
    torch.testing.assert_close(plain(**given).logits, model(**given).logits)


def test_strengths_are_set_by_registering_a_module():
    huggingface.register("regattn_fusedmax_strong", regattn.Fusedmax(lam=0.5))
    given = batch("bert")
    strong, usual = (
        tiny("bert", attention)(**given, output_attentions=True).attentions[0]
        for attention in ("regattn_fusedmax_strong", "regattn_fusedmax")
    )

    def kinks(weights: torch.Tensor) -> float:
        return (weights[0].diff(dim=-1).abs() > 1e-6).double().mean().item()

    assert kinks(strong) < kinks(usual)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_of_lowest_numbers_is_a_bool_mask(dtype):
    given, model = batch("llama"), tiny("llama", "regattn_sparsemax").to(dtype)
    causal = torch.ones(7, 7, dtype=torch.bool).tril() & given["attention_mask"].bool()[:, None, None]
    floating = torch.zeros(causal.shape, dtype=dtype).masked_fill(~causal, torch.finfo(dtype).min)
    wanted = model(**given).logits
    for mask in (causal, floating, floating + floating.abs() / 4):
        torch.testing.assert_close(model(given["input_ids"], attention_mask=mask).logits, wanted)


@pytest.mark.parametrize("lowest", [-1e4, -1e9, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("attention", ["regattn_softmax", "regattn_fusedmax_strong"])
def test_an_additive_mask_of_the_user_removes_padding(attention, lowest):
    huggingface.register("regattn_fusedmax_strong", regattn.Fusedmax(lam=0.5))
    given, model = batch("bert"), tiny("bert", attention)
    mask = given["attention_mask"][1:, None, None]
    padded = model(given["input_ids"][1:], attention_mask=(1.0 - mask) * lowest).logits[:, :4]
    torch.testing.assert_close(padded, model(given["input_ids"][1:, :4]).logits, atol=1e-5, rtol=1e-5)


def test_an_integer_mask_of_the_user_is_refused():
    given, model = batch("bert"), tiny("bert", "regattn_fusedmax")
    with pytest.raises(ValueError, match=r"got torch.int64; .* pass attention_mask.bool\(\)"):
        model(given["input_ids"], attention_mask=given["attention_mask"][:, None, None])
    mask = given["attention_mask"][:, None, None].bool()
    assert model(given["input_ids"], attention_mask=mask).logits.equal(model(**given).logits)


def test_a_mapping_is_registered_by_name():
    huggingface.register("regattn_mine", "fusedmax")
    given = batch("bert")
    logits = tiny("bert", "regattn_mine")(**given).logits
    assert logits.equal(tiny("bert", "regattn_fusedmax")(**given).logits)


def test_a_row_of_nearly_the_lowest_numbers_allows_nothing():
    assert (call(torch.full((5, 5), 0.75 * torch.finfo(torch.float32).min)) == 0).all()


def test_a_model_with_attention_of_its_own_is_refused():
    config = transformers.BloomConfig(vocab_size=WORDS, hidden_size=16, n_head=4, n_layer=1)
    model = transformers.AutoModel.from_config(config, attn_implementation="regattn_sparsemax")
    with pytest.raises(ValueError, match="the model of BloomConfig computes attention by itself"):
        model(torch.tensor([[3, 4]]))


def test_masks_can_be_added_to_scores():
    make = transformers.AttentionMaskInterface()["regattn_sparsemax"]
    for dtype in (torch.float32, torch.bfloat16):
        mask = make(batch_size=1, q_length=3, kv_length=3, dtype=dtype)
        lowest = torch.full((1, 1, 3, 3), torch.finfo(dtype).min, dtype=dtype)
        assert mask.equal(lowest.triu(1))


def test_setting_the_name_warns_of_a_model_that_ignores_it(monkeypatch):
    model = transformers.AutoModel.from_config(transformers.DebertaV2Config(**TEXT))
    said = []
    monkeypatch.setattr(transformers.modeling_utils.logger, "warning", said.append)
    model.set_attn_implementation("regattn_sparsemax")
    assert "does not support setting its attention implementation" in said[0]


# ------------------------------------------------------------------ the function itself
def call(mask=None, causal: bool | None = None, targets: int = 5, **options):
    function = transformers.AttentionInterface()["regattn_softmax"]
    torch.manual_seed(0)
    key, value, query = (torch.randn(2, 4, n, 3) for n in (5, 5, targets))
    module = torch.nn.Identity()
    if causal is not None:
        module.is_causal = causal
    return function(module, query, key, value, mask, **options)[1]


def test_a_missing_mask_means_what_it_means_to_sdpa():
    lower = torch.ones(5, 5, dtype=torch.bool).tril()
    assert ((call() > 0) == lower).all() and ((call(causal=True) > 0) == lower).all()
    assert (call(causal=False) > 0).all() and (call(causal=True, is_causal=False) > 0).all()
    assert ((call(causal=True, position_bias=torch.randn(1, 4, 5, 5)) > 0) == lower).all()
    assert (call(causal=True, targets=1) > 0).all()  # the newest position, the others being in the cache


def test_a_position_bias_is_added_to_a_floating_mask():
    bias, floating = torch.randn(1, 4, 5, 5), torch.randn(2, 1, 5, 5)
    both = call(floating, position_bias=bias)
    torch.testing.assert_close(both, call(floating + bias))
    assert not torch.allclose(both, call(floating))


@pytest.mark.parametrize("name", ["softcap", "s_aux", "sinks", "indices", "cu_seq_lens_q", "cache"])
def test_what_is_not_implemented_is_refused(name):
    with pytest.raises(ValueError, match=f"no {name}, which Identity asks for"):
        call(**{name: 30.0})
    call(**{name: None})


def test_a_sliding_window_without_a_mask_is_refused():
    with pytest.raises(ValueError, match="sliding_window without a mask"):
        call(sliding_window=4)
    call(sliding_window=5)
    call(torch.ones(5, 5, dtype=torch.bool), sliding_window=4)


def test_a_model_with_softcap_is_refused():
    config = transformers.Gemma2Config(**TEXT_GROUPED)
    model = transformers.AutoModel.from_config(config, attn_implementation="regattn_sparsemax")
    with pytest.raises(ValueError, match="no softcap, which Gemma2Attention asks for"):
        model(torch.tensor([[3, 4]]))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("regattn_mine", None), "name and mapping must be given both or neither"),
        ((None, regattn.softmax), "name and mapping must be given both or neither"),
        (("sdpa", regattn.softmax), "name must be regattn_"),
        (("regattn_sdpa", regattn.softmax), "name must be regattn_"),
        (("regattn_a/b", regattn.softmax), "name must be regattn_"),
        (("regattn_mine", "fusedmx"), "mapping must be one of softmax, .*got 'fusedmx'"),
    ],
)
def test_refused_in_one_sentence(arguments, match):
    with pytest.raises(ValueError, match=match):
        huggingface.register(*arguments)
