"""Attention and its scorers against their formulas, position by position."""

from __future__ import annotations

import math

import pytest
import torch

import regattn
from regattn import AdditiveScorer, Attention, BilinearScorer, DotScorer
from tests.mappings import MODULES, totals

BATCH, TARGETS, SOURCES, SIZE = 2, 3, 5, 4
each_mapping = pytest.mark.parametrize("mapping", MODULES.values(), ids=MODULES)


def queries_and_keys(query_size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(BATCH, TARGETS, query_size), torch.randn(BATCH, SOURCES, SIZE)


def one_by_one(score, query, keys) -> torch.Tensor:
    pairs = [score(q, k) for qs, ks in zip(query, keys, strict=True) for q in qs for k in ks]
    return torch.stack(pairs).reshape(BATCH, TARGETS, SOURCES)


def test_dot():
    query, keys = queries_and_keys()
    by_hand = one_by_one(torch.dot, query, keys)
    torch.testing.assert_close(DotScorer()(query, keys), by_hand)
    torch.testing.assert_close(DotScorer(scaled=True)(query, keys), by_hand / math.sqrt(SIZE))


def test_bilinear():
    scorer = BilinearScorer(7, SIZE)
    query, keys = queries_and_keys(7)
    by_hand = one_by_one(lambda q, k: k @ scorer.project.weight @ q, query, keys)
    torch.testing.assert_close(scorer(query, keys), by_hand)
    assert scorer.project.bias is None


def test_additive():
    scorer = AdditiveScorer(7, SIZE, 6)
    query, keys = queries_and_keys(7)
    w_q, w_k = scorer.project_query.weight, scorer.project_keys.weight
    b, v = scorer.project_keys.bias, scorer.v.weight[0]
    by_hand = one_by_one(lambda q, k: v @ torch.tanh(w_k @ k + w_q @ q + b), query, keys)
    torch.testing.assert_close(scorer(query, keys), by_hand)


def test_a_mapping_by_name_and_no_keys():
    attend = Attention(DotScorer(), "fusedmax")
    assert repr(attend.mapping) == repr(regattn.Fusedmax())
    context, weights = attend(torch.randn(2, 3, SIZE), torch.zeros(2, 0, SIZE))
    assert weights.shape == (2, 3, 0) and context.equal(torch.zeros(2, 3, SIZE))


@each_mapping
def test_context_is_the_average_of_the_values(mapping):
    query, keys = queries_and_keys()
    values = torch.randn(BATCH, SOURCES, 6)
    context, weights = Attention(DotScorer(), mapping)(query, keys, values)
    assert weights.shape == (BATCH, TARGETS, SOURCES) and context.shape == (BATCH, TARGETS, 6)
    torch.testing.assert_close(weights, mapping(query @ keys.mT))
    torch.testing.assert_close(context, torch.einsum("bts,bsv->btv", weights, values))
    without, _ = Attention(DotScorer(), mapping)(query, keys)
    torch.testing.assert_close(without, weights @ keys)


@pytest.mark.parametrize("scorer", [DotScorer(), BilinearScorer(SIZE, SIZE), AdditiveScorer(SIZE, SIZE, 6)])
def test_nothing_comes_from_under_the_mask(scorer):
    attend = Attention(scorer, regattn.Fusedmax())
    query, keys = queries_and_keys()
    mask = torch.ones(BATCH, 1, SOURCES, dtype=torch.bool)
    mask[1, :, 3:] = False
    context, weights = attend(query, keys, mask=mask)
    assert (weights[1, :, 3:] == 0).all()
    short, _ = attend(query[1:], keys[1:, :3])
    torch.testing.assert_close(context[1:], short)
    keys = keys.requires_grad_()
    attend(query, keys, mask=mask)[0].sum().backward()
    assert (keys.grad[1, 3:] == 0).all() and keys.grad[1, :3].abs().sum() > 0


def test_any_leading_dimensions():
    query, keys = torch.randn(2, 8, 3, SIZE), torch.randn(2, 8, 5, SIZE)  # heads
    for scorer in (DotScorer(), BilinearScorer(SIZE, SIZE), AdditiveScorer(SIZE, SIZE, 6)):
        context, weights = Attention(scorer, regattn.Sparsemax())(query, keys)
        assert context.shape == (2, 8, 3, SIZE) and weights.shape == (2, 8, 3, 5)
        alone, _ = Attention(scorer, regattn.Sparsemax())(query[1, 2], keys[1, 2])
        torch.testing.assert_close(context[1, 2], alone)


def test_parameters_are_trained():
    attend = Attention(AdditiveScorer(SIZE, SIZE, 6), regattn.Fusedmax())
    attend(*queries_and_keys())[0].pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in attend.parameters())


@each_mapping
@pytest.mark.parametrize("mask", [None, torch.arange(SOURCES) < 3], ids=["all", "some"])
def test_under_autocast_the_mapping_works_in_float32(mapping, mask):
    attend = Attention(BilinearScorer(SIZE, SIZE), mapping)
    query, keys = queries_and_keys()
    with torch.autocast("cpu", torch.bfloat16):
        scores = attend.scorer(query, keys)
        context, weights = attend(query, keys, mask=mask)
    assert scores.dtype == context.dtype == torch.bfloat16 and weights.dtype == torch.float32
    assert torch.equal(weights, mapping(scores.float(), mask))
    expected = totals(
        mapping, torch.ones(BATCH, TARGETS, SOURCES, dtype=torch.bool) if mask is None else mask
    )
    torch.testing.assert_close(weights.sum(-1), expected.expand(BATCH, TARGETS).float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(context.float(), weights @ keys, atol=0.05, rtol=0.02)
    context.float().pow(2).sum().backward()
    gradient = attend.scorer.project.weight.grad
    assert gradient.dtype == torch.float32 and gradient.isfinite().all() and gradient.abs().max() > 0


def test_without_autocast_the_dtype_is_kept():
    query, keys = (tensor.bfloat16() for tensor in queries_and_keys())
    context, weights = Attention(DotScorer(), regattn.Sparsemax())(query, keys)
    assert context.dtype == weights.dtype == torch.bfloat16
    query, keys = (tensor.double() for tensor in queries_and_keys())
    with torch.autocast("cpu", torch.bfloat16):
        assert Attention(DotScorer(), regattn.Sparsemax())(query, keys)[1].dtype == torch.float64


def test_autocast_compiles_without_a_break(fresh_compiler):
    attend = Attention(DotScorer(), regattn.Fusedmax())
    query, keys = queries_and_keys()
    with torch.autocast("cpu", torch.bfloat16):
        compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")(query, keys)
        assert all(torch.equal(a, b) for a, b in zip(compiled, attend(query, keys), strict=True))


def test_a_repr_names_the_mapping_and_its_strengths() -> None:
    weights = regattn.Fusedmax(lam=0.3)
    for module in (
        regattn.Attention(regattn.DotScorer(), weights),
        regattn.MultiheadAttention(8, 2, mapping=weights),
    ):
        assert "Fusedmax(dim=-1, gamma=1.0, lam=0.3)" in repr(module) and "mapping=" not in repr(module)
    assert "mapping=fusedmax" in repr(regattn.Attention(regattn.DotScorer(), regattn.fusedmax))
    assert "mapping=softmax, embed_dim=8, num_heads=2" in repr(regattn.MultiheadAttention(8, 2))
    assert repr(regattn.EntmaxLoss(alpha=1.4)) == "EntmaxLoss(mapping=entmax, alpha=1.4, reduction=mean)"
    assert repr(regattn.FUSEDMAX) == "MappingSpec(fusedmax, gamma=1, lam=0.1)"
