"""Multi-head attention: PyTorch's module under softmax; never its fused kernels under another mapping."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

import regattn
from regattn import MultiheadAttention
from tests.mappings import Tempered
from tests.pairwise import pairwise

BATCH, TARGETS, SOURCES, SIZE, HEADS = 3, 4, 5, 8, 2

pytestmark = [
    pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask"),  # on mixed masks
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
]


def pair(mapping=None, **options) -> tuple[MultiheadAttention, nn.MultiheadAttention]:
    """Ours and PyTorch's with the same parameters, biases away from their zeros."""
    theirs = nn.MultiheadAttention(SIZE, HEADS, **{"dtype": torch.float64, **options})
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    ours = MultiheadAttention(SIZE, HEADS, mapping=mapping, **{"dtype": torch.float64, **options})
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def inputs(batched: bool = True, batch_first: bool = False, kdim: int = SIZE, vdim: int = SIZE):
    tensors = []
    for positions, size in ((TARGETS, SIZE), (SOURCES, kdim), (SOURCES, vdim)):
        batch = () if not batched else (BATCH,)
        shape = (*batch, positions, size) if batch_first else (positions, *batch, size)
        tensors.append(torch.randn(shape, dtype=torch.float64).requires_grad_())
    return tensors


def absent(*shape: int) -> torch.Tensor:
    mask = torch.rand(shape) < 0.4
    mask[..., 1] = False
    return mask


def as_float(mask: torch.Tensor) -> torch.Tensor:
    return torch.randn(mask.shape, dtype=torch.float64).masked_fill(mask, -torch.inf)


def masks(batched: bool = True) -> dict[str, dict[str, torch.Tensor]]:
    batch = BATCH if batched else 1
    padding, pairs = absent(*([BATCH] if batched else []), SOURCES), absent(TARGETS, SOURCES)
    per_head = absent(batch * HEADS, TARGETS, SOURCES)
    return {
        "none": {},
        "padding": {"key_padding_mask": padding},
        "float padding": {"key_padding_mask": as_float(padding)},
        "pairs": {"attn_mask": pairs},
        "float pairs": {"attn_mask": as_float(pairs)},
        "per head": {"attn_mask": per_head},
        "both": {"attn_mask": pairs, "key_padding_mask": padding},
        "both float": {"attn_mask": as_float(per_head), "key_padding_mask": as_float(padding)},
        "mixed": {"attn_mask": as_float(pairs), "key_padding_mask": padding},
    }


def same(ours, theirs, tensors, **options) -> None:
    """Outputs, weights and every gradient."""
    results = [module(*tensors, **options) for module in (ours, theirs)]
    torch.testing.assert_close(results[0], results[1])
    direction = torch.randn_like(results[0][0])
    wanted = [p for p in tensors if p.requires_grad]
    gradients = [
        torch.autograd.grad(output, [*wanted, *module.parameters()], direction)
        for (output, _), module in zip(results, (ours, theirs), strict=True)
    ]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    ("kind", "returned", "batched", "batch_first", "bias", "bias_kv", "zero", "kdim", "vdim"),
    pairwise(masks(), ["averages", "each head", "none"], *[[True, False]] * 5, [SIZE, 6], [SIZE, 3]),
)
def test_softmax_is_pytorchs(kind, returned, batched, batch_first, bias, bias_kv, zero, kdim, vdim):
    options = {"bias": bias, "add_bias_kv": bias_kv, "add_zero_attn": zero, "kdim": kdim, "vdim": vdim}
    same(
        *pair(batch_first=batch_first, **options),
        inputs(batched, batched and batch_first, kdim, vdim),
        need_weights=returned != "none",
        average_attn_weights=returned == "averages",
        **masks(batched)[kind],
    )


@pytest.mark.parametrize("batch_first", [True, False])
def test_self_attention_and_shared_keys(batch_first):
    ours, theirs = pair(batch_first=batch_first)
    query, key, _ = inputs(batch_first=batch_first)
    same(ours, theirs, [query] * 3)
    same(ours, theirs, [query, key, key])
    same(ours, theirs, [query, query, torch.randn_like(query)])
    assert ours(query, key, key)[0].is_contiguous()


def test_the_causal_hint():
    ours, theirs = pair()
    x = inputs()[0]
    causal = nn.Transformer.generate_square_subsequent_mask(TARGETS, dtype=torch.float64)
    for need_weights in (True, False):
        same(ours, theirs, [x] * 3, attn_mask=causal, is_causal=True, need_weights=need_weights)
    with pytest.raises(ValueError, match="is_causal must come with the attn_mask"):
        ours(x, x, x, is_causal=True)


def test_dropout_in_training_alone():
    ours, theirs = pair(dropout=0.5)
    tensors = inputs()
    torch.manual_seed(1)
    output, weights = ours(*tensors)
    torch.manual_seed(1)
    torch.testing.assert_close((output, weights), theirs(*tensors))
    assert not torch.equal(ours(*tensors)[0], output)
    torch.testing.assert_close(ours.eval()(*tensors), theirs.eval()(*tensors))


@pytest.mark.parametrize("options", [{}, {"kdim": 3}, {"bias": False}, {"add_bias_kv": True, "vdim": 5}])
def test_parameters_start_equal_and_checkpoints_load_both_ways(options):
    made = []
    for kind in (MultiheadAttention, nn.MultiheadAttention):
        torch.manual_seed(3)
        made.append(kind(SIZE, HEADS, **options))
    ours, theirs = (module.state_dict() for module in made)
    assert list(ours) == list(theirs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    made[1].load_state_dict(ours, strict=True)
    with_module = MultiheadAttention(SIZE, HEADS, mapping=regattn.Fusedmax(), **options)
    assert list(with_module.state_dict()) == list(theirs)
    with_module._reset_parameters()


def test_a_mapping_that_learns_is_trained_and_saved():
    attend = MultiheadAttention(SIZE, HEADS, mapping=Tempered())
    assert "mapping.temperature" in attend.state_dict()
    x = torch.randn(5, 2, SIZE)
    attend(x, x, x)[0].square().sum().backward()
    assert attend.mapping.temperature.grad.abs() > 0


@pytest.mark.parametrize("mapping", [regattn.fusedmax, regattn.Fusedmax(), regattn.Sparsemax()])
def test_weights_are_the_mappings(mapping):
    ours, _ = pair(mapping)
    query, key, value = inputs()
    output, weights = ours(query, key, value, average_attn_weights=False)
    q, k, v = (
        (x.transpose(0, 1) @ w.mT + b).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for x, w, b in zip(
            (query, key, value), ours.in_proj_weight.chunk(3), ours.in_proj_bias.chunk(3), strict=True
        )
    )
    expected = mapping(q @ k.mT / (SIZE // HEADS) ** 0.5)
    torch.testing.assert_close(weights, expected)
    assert (weights == 0).any()
    joined = torch.cat([*(expected @ v).unbind(1)], -1)
    torch.testing.assert_close(output.transpose(0, 1), ours.out_proj(joined))


@pytest.mark.parametrize("mapping", [None, regattn.Fusedmax()])
def test_rows_with_nothing_allowed_are_zero(mapping):
    ours, _ = pair(mapping)
    tensors = inputs()
    mask = absent(TARGETS, SOURCES)
    mask[2] = True
    output, weights = ours(*tensors, attn_mask=mask)
    assert (weights[:, 2] == 0).all()
    torch.testing.assert_close(output[2], ours.out_proj.bias.expand(BATCH, SIZE))
    output.square().sum().backward()
    assert all(x.grad.isfinite().all() for x in (*tensors, *ours.parameters()))


def test_padding_cannot_be_seen():
    ours, _ = pair(regattn.Fusedmax(), batch_first=True)
    query, key, value = inputs(batch_first=True)
    padding = torch.tensor([False, True, False, True, True]).expand(BATCH, SOURCES)
    alone = ours(query, key[:, [0, 2]], value[:, [0, 2]], need_weights=False)
    torch.testing.assert_close(ours(query, key, value, padding, need_weights=False), alone)


@pytest.mark.parametrize("lowest", [-1e4, -1e9, torch.finfo(torch.float32).min])
def test_an_additive_mask_removes_positions(lowest):
    ours, _ = pair("fusedmax")
    tensors, pairs, padding = inputs(), absent(TARGETS, SOURCES), absent(BATCH, SOURCES)
    wanted = ours(*tensors, key_padding_mask=padding, attn_mask=pairs)
    padding, pairs = (torch.zeros(mask.shape).masked_fill(mask, lowest) for mask in (padding, pairs))
    got = ours(*tensors, key_padding_mask=padding, attn_mask=pairs)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("mapping", [None, "fusedmax"])
def test_no_keys_give_zeros(mapping):
    ours, theirs = pair(mapping)
    query, nothing = inputs()[0], torch.zeros(0, BATCH, SIZE, dtype=torch.float64)
    torch.testing.assert_close(ours(query, nothing, nothing), theirs(query, nothing, nothing))


def test_a_mapping_by_name_is_its_module():
    assert repr(pair("fusedmax")[0].mapping) == repr(regattn.Fusedmax())
    with pytest.raises(ValueError, match=r"mapping must be one of softmax, .*got 'fusedmx'"):
        pair("fusedmx")


def test_copies_and_pickles():
    ours, _ = pair(regattn.Fusedmax(lam=0.3))
    tensors = inputs()
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        torch.testing.assert_close(twin(*tensors), ours(*tensors), rtol=0, atol=0)


def test_compiled_without_a_break():
    for mapping in (None, regattn.Fusedmax()):
        ours, _ = pair(mapping)
        tensors, padding = inputs(), absent(BATCH, SOURCES)
        compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*tensors, padding), ours(*tensors, padding))


# ------------------------------------------------------------------ inside PyTorch's Transformer
def encoder_layer(attend: nn.MultiheadAttention) -> nn.TransformerEncoderLayer:
    torch.manual_seed(2)
    layer = nn.TransformerEncoderLayer(SIZE, HEADS, 16, dropout=0.0, batch_first=True, dtype=torch.float64)
    layer.self_attn = attend
    return layer


@pytest.mark.parametrize(
    ("grad_mode", "training", "padded"),
    pairwise([torch.enable_grad, torch.no_grad, torch.inference_mode], [True, False], [True, False]),
)
def test_an_encoder_layer_never_goes_round_the_mapping(grad_mode, training, padded):
    ours, theirs = pair(regattn.Fusedmax(), batch_first=True)
    x = torch.randn(BATCH, SOURCES, SIZE, dtype=torch.float64)
    padding = torch.arange(SOURCES) >= torch.tensor([[5], [2], [3]]) if padded else None
    layer = encoder_layer(ours).train(training)
    with grad_mode():
        got = layer(x, src_key_padding_mask=padding)
        attended = layer.norm1(x + ours(x, x, x, padding)[0])
        torch.testing.assert_close(got, layer.norm2(attended + layer.linear2(layer.linear1(attended).relu())))
        assert not torch.allclose(got, encoder_layer(theirs).train(training)(x, src_key_padding_mask=padding))
        ours.mapping = regattn.Softmax()
        softmax = encoder_layer(theirs).train(training)(x, src_key_padding_mask=padding)
        torch.testing.assert_close(layer(x, src_key_padding_mask=padding), softmax)


@pytest.mark.parametrize("replaced", ["before", "after"])
def test_an_encoder_with_nested_tensors(replaced):
    ours, theirs = pair(regattn.Fusedmax(), batch_first=True)
    encoder = nn.TransformerEncoder(encoder_layer(ours if replaced == "before" else theirs), 2)
    for layer in encoder.layers:
        layer.self_attn = copy.deepcopy(ours)
    x = torch.randn(BATCH, SOURCES, SIZE, dtype=torch.float64)
    padding = torch.arange(SOURCES) >= torch.tensor([[5], [2], [3]])
    wanted = encoder.train()(x, src_key_padding_mask=padding)
    with torch.no_grad():
        got = encoder.eval()(x, src_key_padding_mask=padding)
    torch.testing.assert_close(got[~padding], wanted[~padding])
    assert encoder.use_nested_tensor == (replaced == "after")


def test_a_decoder_layer():
    layer = nn.TransformerDecoderLayer(SIZE, HEADS, 16, dropout=0.0, dtype=torch.float64)
    twin = copy.deepcopy(layer)
    for name in ("self_attn", "multihead_attn"):
        ours = MultiheadAttention(SIZE, HEADS, dtype=torch.float64)
        ours.load_state_dict(getattr(layer, name).state_dict())
        setattr(twin, name, ours)
    x, memory, _ = inputs()
    causal = nn.Transformer.generate_square_subsequent_mask(TARGETS, dtype=torch.float64)
    for module in (layer.eval(), twin.eval()):
        module.got = module(x, memory, tgt_mask=causal, tgt_is_causal=True)
    torch.testing.assert_close(twin.got, layer.got)


zeros = partial(torch.zeros, dtype=torch.float64)


@pytest.mark.parametrize(
    ("match", "tensors", "options"),
    [
        ("query must be of shape", (zeros(4, 3, 6), zeros(5, 3, 8), zeros(5, 3, 8)), {}),
        ("key must be of shape", (zeros(4, 3, 8), zeros(5, 8), zeros(5, 3, 8)), {}),
        ("query must be of shape", (zeros(1, 4, 3, 8),) * 3, {}),
        ("one .batch, sources.", (zeros(4, 3, 8), zeros(5, 3, 8), zeros(6, 3, 8)), {}),
        ("the query's batch", (zeros(4, 1, 8), zeros(5, 3, 8), zeros(5, 3, 8)), {}),
        (r"attn_mask must be of shape \(4, 4\)", (zeros(4, 3, 8),) * 3, {"attn_mask": zeros(4, 5)}),
        (r"of shape \(6, 4, 4\)", (zeros(4, 3, 8),) * 3, {"attn_mask": zeros(3, 4, 4)}),
        (r"key_padding_mask must be of .*\(3, 4\)", (zeros(4, 3, 8),) * 3, {"key_padding_mask": zeros(4)}),
        ("pass key_padding_mask == 0", (zeros(4, 3, 8),) * 3, {"key_padding_mask": zeros(3, 4).byte()}),
    ],
)
def test_refused_in_one_sentence(match, tensors, options):
    with pytest.raises(ValueError, match=match):
        MultiheadAttention(SIZE, HEADS, dtype=torch.float64)(*tensors, **options)


def test_nested_tensors_are_refused_where_weights_are_wanted():
    nested = torch.nested.nested_tensor([torch.zeros(2, SIZE), torch.zeros(3, SIZE)])
    attend = MultiheadAttention(SIZE, HEADS, batch_first=True)
    with pytest.raises(ValueError, match="nested tensor"):
        attend(nested, nested, nested)
    assert attend(nested, nested, nested, need_weights=False)[0].is_nested
