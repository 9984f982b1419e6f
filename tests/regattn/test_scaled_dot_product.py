"""Scaled dot-product attention: PyTorch's under softmax, the mapping's own laws under any other."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

import regattn
from regattn import scaled_dot_product_attention as attend
from tests.mappings import FUNCTIONS, OF_OMEGA, Tempered, totals
from tests.pairwise import pairwise

BATCH, HEADS, TARGETS, SOURCES, SIZE, VALUE_SIZE = 2, 4, 3, 5, 6, 7
MAPPINGS = [FUNCTIONS[name] for name in OF_OMEGA]


def inputs(
    *batch: int, key_heads: int | None = None, dtype: torch.dtype = torch.float64
) -> list[torch.Tensor]:
    """Query, key and value that want a gradient."""
    fewer = batch if key_heads is None else (*batch[:-1], key_heads)
    shapes = ((*batch, TARGETS, SIZE), (*fewer, SOURCES, SIZE), (*fewer, SOURCES, VALUE_SIZE))
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


def some(*shape: int) -> torch.Tensor:
    """A bool mask that leaves every row something."""
    mask = torch.rand(shape) < 0.6
    mask[..., 1] = True
    return mask


def with_absent(mask: torch.Tensor) -> torch.Tensor:
    return torch.randn(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf)


MASKS = {
    "none": lambda: None,
    "bool": lambda: some(TARGETS, SOURCES),
    "bool per key": lambda: some(BATCH, 1, 1, SOURCES),
    "bool per head": lambda: some(BATCH, HEADS, TARGETS, SOURCES),
    "float": lambda: torch.randn(TARGETS, SOURCES, dtype=torch.float64),
    "float with -inf": lambda: with_absent(some(BATCH, 1, TARGETS, SOURCES)),
}


@pytest.mark.parametrize(
    ("kind", "key_heads", "scale"), pairwise([*MASKS, "causal"], [None, 1, 2], [None, 0.7])
)
def test_softmax_is_pytorchs(kind, scale, key_heads):
    tensors = inputs(BATCH, HEADS, key_heads=key_heads)
    mask = None if kind == "causal" else MASKS[kind]()
    if mask is not None and mask.is_floating_point():
        tensors.append(mask.requires_grad_())
    options = {"is_causal": kind == "causal", "scale": scale, "enable_gqa": key_heads is not None}
    ours = attend(*tensors[:3], mask, **options)
    theirs = F.scaled_dot_product_attention(*tensors[:3], mask, **options)
    torch.testing.assert_close(ours, theirs)
    direction = torch.randn_like(ours)
    torch.testing.assert_close(*(torch.autograd.grad(y, tensors, direction) for y in (ours, theirs)))


@pytest.mark.parametrize("batch", [(), (3,), (2, 1, 3), (0, 2)])
def test_any_leading_dimensions(batch):
    tensors = inputs(*batch)
    theirs = F.scaled_dot_product_attention(*(x.unsqueeze(0) for x in tensors))[0]
    torch.testing.assert_close(attend(*tensors), theirs)


def test_dropout_is_pytorchs():
    tensors = inputs(BATCH, HEADS)
    torch.manual_seed(1)
    ours, weights = attend(*tensors, dropout_p=0.4, need_weights=True)
    torch.manual_seed(1)
    torch.testing.assert_close(ours, F.scaled_dot_product_attention(*tensors, dropout_p=0.4))
    torch.testing.assert_close(ours, weights @ tensors[2])
    assert 0.2 < (weights == 0).double().mean() < 0.6
    assert (attend(*tensors, dropout_p=1.0) == 0).all()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_query_that_may_attend_to_nothing_gets_zeros(mapping):
    mask = some(BATCH, 1, TARGETS, SOURCES)
    mask[0, :, 1] = False
    for given in (mask, with_absent(mask)):
        tensors = inputs(BATCH, HEADS)
        output, weights = attend(*tensors, given, need_weights=True, mapping=mapping)
        assert (output[0, :, 1] == 0).all() and (weights[0, :, 1] == 0).all()
        torch.testing.assert_close(weights.sum(-1), totals(mapping, mask).expand(BATCH, HEADS, TARGETS))
        output.square().sum().backward()
        assert all(x.grad.isfinite().all() for x in tensors) and (tensors[0].grad[0, :, 1] == 0).all()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_masked_key_is_as_if_it_were_absent(mapping):
    query, key, value = inputs(BATCH, HEADS)
    present = torch.tensor([True, False, True, True, False])
    with torch.no_grad():
        key[..., ~present, :], value[..., ~present, :] = 1e4, 1e4
    alone = attend(query, key[..., present, :], value[..., present, :], mapping=mapping)
    torch.testing.assert_close(attend(query, key, value, present, mapping=mapping), alone)
    as_float = torch.zeros(SOURCES, dtype=torch.float64).masked_fill(~present, -torch.inf)
    torch.testing.assert_close(attend(query, key, value, as_float, mapping=mapping), alone)


def test_a_lowest_score_is_no_neighbour():
    key = torch.tensor([[2.0], [1.5], [9.0]])
    for lowest in (-1e4, -1e9, torch.finfo(torch.float32).min, -torch.inf):
        bias = torch.tensor([[0.0, 0.0, lowest]])
        _, weights = attend(torch.ones(1, 1), key, key, bias, need_weights=True, mapping="fusedmax", lam=0.2)
        torch.testing.assert_close(weights, torch.tensor([[0.55, 0.45, 0.0]]))


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_an_additive_mask_removes_positions(mapping, dtype, measure):
    found = measure("additive masks", parts=len(MAPPINGS) * len(DTYPES))
    batch = -(-found.n // (3 * TARGETS))
    query, key, value = (x.detach() for x in inputs(batch, dtype=dtype))
    present = some(batch, TARGETS, SOURCES)
    wanted = attend(query, key, value, present, mapping=mapping)
    for lowest in (-1e4, -1e9, torch.finfo(dtype).min):
        written = max(lowest, torch.finfo(dtype).min)
        bias = torch.zeros(present.shape, dtype=dtype).masked_fill(~present, written)
        found.all(
            (attend(query, key, value, bias, mapping=mapping) == wanted).all(-1).flatten(), dtype=str(dtype)
        )


def test_a_smaller_bias_stays_a_bias():
    tensors = inputs(BATCH, HEADS)
    bias = torch.zeros(TARGETS, SOURCES, dtype=torch.float64)
    bias[:, 2:] = -9000.0
    theirs = F.scaled_dot_product_attention(*tensors, bias - 1.0)
    torch.testing.assert_close(attend(*tensors, bias - 1.0), theirs)
    bias[:] = -9000.0  # of all alike, which changes nothing
    torch.testing.assert_close(
        attend(*tensors, bias, mapping="fusedmax"), attend(*tensors, mapping="fusedmax")
    )


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_no_keys_give_zeros(mapping):
    query = torch.randn(2, 3, 4, requires_grad=True)
    key, value = torch.zeros(2, 0, 4), torch.zeros(2, 0, 5)
    for mask in (None, torch.ones(3, 0, dtype=torch.bool), torch.zeros(2, 3, 0)):
        output, weights = attend(query, key, value, mask, need_weights=True, mapping=mapping)
        assert output.equal(F.scaled_dot_product_attention(query, key, value)) and weights.shape == (2, 3, 0)
    output.sum().backward()
    assert (query.grad == 0).all()


@pytest.mark.parametrize("name", OF_OMEGA)
def test_a_mapping_by_name_is_its_function(name):
    tensors = inputs(BATCH, HEADS)
    assert attend(*tensors, mapping=name).equal(attend(*tensors, mapping=FUNCTIONS[name]))
    assert attend(*tensors, mapping=name, gamma=0.3).equal(
        attend(*tensors, mapping=FUNCTIONS[name], gamma=0.3)
    )


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_weights_are_the_mapping_of_the_scores(mapping):
    query, key, value = inputs(BATCH, HEADS)
    output, weights = attend(query, key, value, need_weights=True, mapping=mapping)
    scores = torch.einsum("bhts,bhus->bhtu", query, key) / math.sqrt(SIZE)
    torch.testing.assert_close(weights, mapping(scores))
    torch.testing.assert_close(output, torch.einsum("bhtu,bhuv->bhtv", weights, value))


def test_strengths_reach_the_mapping():
    tensors = inputs(BATCH, HEADS)
    wanted = attend(*tensors, mapping=lambda x, mask: regattn.fusedmax(x, lam=0.7, gamma=0.3, mask=mask))
    for mapping, strengths in (
        (regattn.fusedmax, {"lam": 0.7, "gamma": 0.3}),
        (regattn.Fusedmax(lam=0.7, gamma=0.3), {}),
        (regattn.Fusedmax(gamma=0.3), {"lam": 0.7}),
    ):
        torch.testing.assert_close(attend(*tensors, mapping=mapping, **strengths), wanted)
    assert not torch.allclose(attend(*tensors, mapping=regattn.fusedmax), wanted)


def test_a_mapping_may_be_any_module():
    tensors, mapping = inputs(BATCH, HEADS), Tempered()
    output = attend(*tensors, mapping=mapping)
    torch.testing.assert_close(output, F.scaled_dot_product_attention(*tensors, scale=2 / math.sqrt(SIZE)))
    output.square().sum().backward()
    assert mapping.temperature.grad.abs() > 0


@pytest.mark.parametrize("kind", ["bool", "float with -inf"])
def test_the_mapping_gets_finite_scores_and_a_bool_mask(kind):
    attn_mask, seen = MASKS[kind](), []

    def spy(scores, *, mask):
        seen.append((scores, mask))
        return regattn.softmax(scores, mask=mask)

    attend(*inputs(BATCH, HEADS), attn_mask, mapping=spy)
    ((scores, mask),) = seen
    assert scores.abs().max() < 100 and mask.dtype == torch.bool
    assert mask.equal(attn_mask if kind == "bool" else attn_mask > -torch.inf)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_dtype_is_kept(dtype):
    tensors = inputs(BATCH, HEADS, dtype=dtype)
    output, weights = attend(*tensors, torch.zeros(SOURCES), need_weights=True)
    assert output.dtype == weights.dtype == dtype
    torch.testing.assert_close(output, F.scaled_dot_product_attention(*tensors), atol=0.02, rtol=0.02)


def test_autocast():
    tensors = inputs(BATCH, HEADS, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = attend(*tensors, some(TARGETS, SOURCES), mapping=regattn.sparsemax)
    assert output.dtype == torch.bfloat16 and output.isfinite().all()


def test_compiled_without_a_break():
    tensors = *inputs(BATCH, HEADS), some(TARGETS, SOURCES)
    for mapping in (regattn.softmax, regattn.Fusedmax()):
        function = partial(attend, mapping=mapping)
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*tensors), function(*tensors))


def test_mapped_over_a_batch():
    tensors = [x.detach() for x in inputs(BATCH, HEADS)]
    function = partial(attend, is_causal=True, mapping=regattn.fusedmax)
    torch.testing.assert_close(torch.func.vmap(function)(*tensors), function(*tensors))


zeros = torch.zeros


@pytest.mark.parametrize(
    ("error", "match", "arguments", "options"),
    [
        (TypeError, "key must be a floating", (zeros(3, 4), zeros(5, 4).long(), zeros(5, 2)), {}),
        (ValueError, "at least 2 dimensions", (zeros(4), zeros(5, 4), zeros(5, 2)), {}),
        (ValueError, "query's size 4, got 6", (zeros(3, 4), zeros(5, 6), zeros(5, 2)), {}),
        (ValueError, "key's 5 positions, got 4", (zeros(3, 4), zeros(5, 4), zeros(4, 2)), {}),
        (ValueError, "is_causal", (zeros(3, 4),) * 3, {"is_causal": True, "attn_mask": zeros(3, 3)}),
        (
            ValueError,
            r"got torch.int64; .* pass attn_mask.bool\(\)",
            (zeros(3, 4),) * 3,
            {"attn_mask": zeros(3, 3).long()},
        ),
        (
            ValueError,
            "mapping must be one of softmax, .*got 'fusedmx'",
            (zeros(3, 4),) * 3,
            {"mapping": "fusedmx"},
        ),
        (TypeError, "mapping must be a function", (zeros(3, 4),) * 3, {"mapping": None}),
        (ValueError, "broadcastable", (zeros(3, 4),) * 3, {"attn_mask": zeros(2, 3).bool()}),
        (ValueError, "broadcastable", (zeros(1, 3, 4),) * 3, {"attn_mask": zeros(2, 3, 3)}),
        (ValueError, "dropout_p must be in", (zeros(3, 4),) * 3, {"dropout_p": 1.5}),
        (ValueError, "equally many heads", (zeros(4, 3, 4), zeros(2, 3, 4), zeros(2, 3, 4)), {}),
        (ValueError, "whole number", (zeros(4, 3, 4), *(zeros(3, 3, 4),) * 2), {"enable_gqa": True}),
        (ValueError, "along dim -1", (zeros(3, 4),) * 3, {"mapping": regattn.Sparsemax(dim=0)}),
        (ValueError, "lam must be finite", (zeros(3, 4),) * 3, {"mapping": regattn.fusedmax, "lam": -1.0}),
    ],
)
def test_refused_in_one_sentence(error, match, arguments, options):
    with pytest.raises(error, match=match):
        attend(*arguments, **options)


def test_nested_tensors_are_refused():
    nested = torch.nested.nested_tensor([torch.zeros(2, 4), torch.zeros(3, 4)], layout=torch.jagged)
    with pytest.raises(ValueError, match="nested"):
        attend(nested, nested, nested)
