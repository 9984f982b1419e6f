"""The one list of mappings: what it says of each holds, and what is added to it works everywhere."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import regattn
from regattn._registry import MAPPINGS, MappingSpec, register
from tests.toy import HALFMAX, Halfmax, halfmax

PAPER = ["softmax", "sparsemax", "fusedmax", "oscarmax", "pnormmax"]
each_spec = pytest.mark.parametrize("spec", MAPPINGS.values(), ids=lambda spec: spec.name)


@pytest.fixture
def toy() -> Iterator[MappingSpec]:
    register(HALFMAX)
    yield HALFMAX
    del MAPPINGS[HALFMAX.name]


def test_the_paper_s_five_come_first_in_its_order():
    assert [name for name, spec in MAPPINGS.items() if spec.in_paper] == PAPER == list(MAPPINGS)[:5]
    assert MAPPINGS["pnormmax"].paper_name == "sq-pnorm-max"
    assert len({spec.colour for spec in MAPPINGS.values()}) == len(MAPPINGS)


@each_spec
def test_a_spec_agrees_with_function_and_module(spec):
    assert getattr(regattn, spec.name) is spec.function
    assert getattr(regattn, spec.module.__name__) is spec.module
    assert spec.module.function is spec.function
    assert spec.module().strengths == spec.defaults
    arguments = list(inspect.signature(spec.module).parameters)
    learnt = [] if spec.module is regattn.OscarmaxPublished else ["learn"]  # which takes numbers alone
    assert arguments == ["dim", *spec.defaults, *learnt]


@each_spec
def test_the_ends_of_a_range_are_what_it_says(spec):
    x = torch.randn(5, dtype=torch.float64)
    for strength in spec.strengths:
        for end, allowed in (
            (strength.range.low, strength.range.low_allowed),
            (strength.range.high, strength.range.high_allowed),
        ):
            if allowed:
                assert spec.function(x, **{strength.name: float(end)}).sum() == pytest.approx(1)
            else:
                with pytest.raises(
                    ValueError, match=f"{strength.name} must be finite and {re.escape(str(strength.range))}"
                ):
                    spec.function(x, **{strength.name: float(end)})


def test_a_toy_mapping_works_through_the_registry_alone(toy):
    x = torch.randn(3, 6, dtype=torch.float64)
    y = halfmax(x)
    assert float(regattn.certify(x, y, Halfmax(gamma=2.0)).max()) < 1e-12
    assert float(regattn.certify(x, y, halfmax).max()) < 1e-12
    expected = regattn.max_omega(x, regattn.sparsemax, gamma=2.0)
    torch.testing.assert_close(regattn.max_omega(x, halfmax), expected)
    assert float(regattn.fenchel_young_loss(x, y, halfmax).abs().max()) < 1e-12
    assert ((regattn.groups(x, halfmax) > 0) == (y > 0)).all()


def test_a_mapping_that_is_not_in_it_is_refused():
    x = torch.randn(3)
    for ask in (regattn.certify, regattn.fenchel_young_loss):
        with pytest.raises(ValueError, match=r"one of softmax, .*pnormmax, .*, got 'halfmax'"):
            ask(x, halfmax(x), halfmax)
    with pytest.raises(ValueError, match="got 'oscarmax_published'"):
        regattn.max_omega(x, regattn.oscarmax_published)


def test_a_strength_that_no_mapping_has_is_refused():
    x = torch.randn(3)
    with pytest.raises(TypeError, match="a strength must be one of gamma, lam, p, alpha, k, got 'lamda'"):
        regattn.certify(x, x, regattn.fusedmax, lamda=0.1)


def test_a_name_is_taken_once(toy):
    with pytest.raises(ValueError, match="must not be taken, got 'halfmax'"):
        register(HALFMAX)


def test_a_strength_needs_a_range():
    def oddmax(scores: Tensor, dim: int = -1, *, oddness: float = 1.0, mask: Tensor | None = None) -> Tensor:
        return scores

    with pytest.raises(ValueError, match="must have a range, got oddness of oddmax"):
        register(MappingSpec(oddmax, Halfmax, colour="#8a8a8a"))
