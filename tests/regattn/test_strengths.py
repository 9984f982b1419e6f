"""Strengths that are tensors: one for each row or head, learnt or not."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import regattn
from tests.mappings import OF_OMEGA, READ_OFF, random_scores
from tests.pairwise import pairwise

Function = Callable[..., Tensor]
NAN, INF = float("nan"), float("inf")
FUNCTIONS = {name: regattn.MAPPINGS[name].function for name in OF_OMEGA}
MODULES: dict[str, Any] = {name: regattn.MAPPINGS[name].module for name in OF_OMEGA}
LAMS = {"fusedmax": (0.02, 0.3), "oscarmax": (0.005, 0.08)}  # between which λ is drawn
ALPHAS = {"entmax": (1.1, 1.4), "normmax": (1.1, 1.4)}  # nearer to 2 differences are no derivatives at kinks
DRAWN = {"lam": LAMS, "alpha": ALPHAS}
STRENGTHS = [(name, "gamma") for name in FUNCTIONS]
STRENGTHS += [(name, which) for which, names in DRAWN.items() for name in names]
each_mapping = pytest.mark.parametrize("name", FUNCTIONS)
each_strength = pytest.mark.parametrize(("name", "which"), STRENGTHS)
HOLES = torch.tensor([True, False, True, True, False, True, True])


def draw(name: str, *shape: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """One tensor for each strength of a mapping."""
    strengths = {"gamma": 0.4 + torch.rand(shape, dtype=dtype)}
    for which, names in DRAWN.items():
        if name in names:
            low, high = names[name]
            strengths[which] = low + (high - low) * torch.rand(shape, dtype=dtype)
    return strengths


def same(name: str, a: Tensor, b: Tensor) -> None:
    """Same bits; for softmax up to rounding, since torch divides by numbers and by tensors differently."""
    assert a.dtype == b.dtype
    atol = 4 * torch.finfo(a.dtype).eps if name == "softmax" else 0
    torch.testing.assert_close(a, b, rtol=0, atol=atol, equal_nan=True)


def of_strengths(name: str, **fixed: Any) -> Function:
    """A mapping as a function of scores and of its strengths in order."""
    keys = list(draw(name))
    return lambda x, *strengths: FUNCTIONS[name](x, **fixed, **dict(zip(keys, strengths, strict=True)))


def of_strength(name: str, which: str, x: Tensor, rest: dict[str, Tensor], dim: int = -1) -> Function:
    """A mapping as a function of one strength, and of a mask if given."""
    return lambda strength, mask=None: FUNCTIONS[name](x, dim, mask=mask, **{**rest, which: strength})


def by_loop(function: Callable[..., Tensor], x: Tensor, dim: int, mask: Tensor | None, **strengths: Tensor):
    """Row after row, with numbers."""
    moved = x.movedim(dim, -1)
    flags = None if mask is None else mask.expand(x.shape).movedim(dim, -1).reshape(-1, moved.shape[-1])
    each = {k: v.expand(x.shape).select(dim, 0).reshape(-1).tolist() for k, v in strengths.items()}
    rows = [
        function(row, **{k: v[i] for k, v in each.items()}, mask=None if flags is None else flags[i])
        for i, row in enumerate(moved.reshape(-1, moved.shape[-1]))
    ]
    return torch.stack(rows).reshape(moved.shape).movedim(-1, dim)


# ------------------------------------------------------------------ values
PLACES: list[tuple[tuple[int, ...], int, tuple[int, ...]]] = [  # scores, dim, strength
    ((4, 7), -1, ()),
    ((7,), 0, ()),
    ((7,), -1, (1,)),
    ((4, 7), -1, (1, 1)),
    ((4, 7), -1, (4, 1)),
    ((1, 7), -1, (1, 1)),
    ((2, 3, 4, 7), -1, (2, 3, 1, 1)),
    ((2, 3, 4, 7), -1, (3, 1, 1)),
    ((2, 3, 4, 7), -1, (2, 1, 4, 1)),
    ((2, 3, 4, 7), 1, (2, 1, 1, 7)),
    ((2, 3, 4, 7), -3, (4, 1)),
    ((2, 3, 4, 7), 0, (7,)),
    ((7, 4), 0, (1, 4)),
    ((7, 4), 0, (4,)),
]


@each_mapping
def test_values_are_those_of_the_loop_over_rows(name):
    for shape, dim, place in PLACES:
        function, x = FUNCTIONS[name], random_scores(*shape)
        strengths = draw(name, *place)
        mask = torch.rand(shape) > 0.2
        same(name, function(x, dim, **strengths), by_loop(function, x, dim, None, **strengths))
        same(name, function(x, dim, mask=mask, **strengths), by_loop(function, x, dim, mask, **strengths))
        only = {"gamma": strengths["gamma"]}  # a tensor beside a number
        same(name, function(x, dim, **only), by_loop(function, x, dim, None, **only))
    for place in ((), (0, 1)):
        assert function(random_scores(0, 7), **draw(name, *place)).shape == (0, 7)


@pytest.mark.parametrize(
    ("name", "of_scores", "of_strength"),
    pairwise(
        FUNCTIONS,
        [torch.float64, torch.float32, torch.bfloat16, torch.float16],
        [torch.float64, torch.float32, torch.bfloat16],
    ),
)
def test_type_of_the_scores_is_kept(name, of_scores, of_strength):
    function, x = FUNCTIONS[name], random_scores(5, 7, dtype=of_scores).requires_grad_()
    for place in ((), (5, 1)):
        strengths = {k: v.requires_grad_() for k, v in draw(name, *place, dtype=of_strength).items()}
        y = function(x, **strengths)
        same(name, y.detach(), by_loop(function, x.detach(), -1, None, **strengths))
        gradients = torch.autograd.grad(y[:, 0].sum(), [x, *strengths.values()])
        assert gradients[0].dtype == of_scores
        for gradient, strength in zip(gradients[1:], strengths.values(), strict=True):
            assert gradient.dtype == of_strength and gradient.shape == strength.shape
            assert gradient.isfinite().all()


@each_mapping
def test_strength_may_have_any_strides(name):
    function, x = FUNCTIONS[name], random_scores(3, 4, 7)
    for strengths in (
        {k: v.expand(3, 4, 1) for k, v in draw(name, 4, 1).items()},
        {k: v.transpose(0, 1) for k, v in draw(name, 4, 3, 1).items()},
        {k: v[:, ::2, 1:2] for k, v in draw(name, 3, 8, 3).items()},
    ):
        expected = function(
            x, **{k: v.clone(memory_format=torch.contiguous_format) for k, v in strengths.items()}
        )
        before = {k: v.clone() for k, v in strengths.items()}
        assert torch.equal(function(x, **strengths), expected)
        assert all(torch.equal(v, before[k]) for k, v in strengths.items())


@each_strength
def test_no_gradient_is_asked_for_and_none_remembered(name, which):
    x, strengths = random_scores(4, 7), draw(name, 4, 1)
    strengths[which].requires_grad_()
    y = FUNCTIONS[name](x, **strengths)
    assert y.requires_grad
    with torch.no_grad():
        assert not FUNCTIONS[name](x, **strengths).requires_grad
    with torch.inference_mode():
        assert torch.equal(FUNCTIONS[name](x, **strengths), y)


# ------------------------------------------------------------------ derivatives
def difference(name: str, which: str, x: Tensor, strengths: dict[str, Tensor], mask: Tensor | None):
    """Central difference of the weights by one strength, and for which rows there is no kink on the way."""
    step = 1e-5
    low, high = ({**strengths, which: strengths[which].detach() + sign * step} for sign in (-1, 1))
    function = FUNCTIONS[name]
    slope = (function(x, mask=mask, **high) - function(x, mask=mask, **low)) / (2 * step)
    smooth = torch.ones(len(x), dtype=torch.bool)
    if name not in ("softmax", *READ_OFF):
        before, after = (regattn.groups(x, function, mask=mask, **s) for s in (low, high))
        smooth = (before == after).all(-1)
    return slope, smooth


@each_strength
def test_gradient_is_the_finite_difference(name, which):
    function, x, direction = FUNCTIONS[name], random_scores(300, 7), random_scores(300, 7)
    for mask in (None, HOLES):
        strengths = draw(name, 300, 1)
        slope, smooth = difference(name, which, x, strengths, mask)
        assert smooth.float().mean() > 0.95
        strengths[which].requires_grad_()
        y = function(x, mask=mask, **strengths)
        (gradient,) = torch.autograd.grad(y, strengths[which], direction)
        expected = (slope * direction).sum(-1, keepdim=True)
        atol = 1e-7 if which == "alpha" else 1e-8  # third derivatives are larger
        torch.testing.assert_close(gradient[smooth], expected[smooth], rtol=0, atol=atol)
        assert (gradient.abs() > 1e-3).float().mean() > 0.5, "nothing moves: the test says nothing"


@each_strength
def test_gradient_of_a_shared_strength_is_the_sum_over_its_rows(name, which):
    x, direction = random_scores(2, 2, 3, 4, 7)
    weights = of_strength(name, which, x, draw(name))
    for shape in ((3, 1, 1), (1, 3, 1, 1), ()):
        shared = draw(name, *shape)[which].requires_grad_()
        each = shared.detach().expand(2, 3, 4, 1).clone().requires_grad_()
        (gradient,) = torch.autograd.grad(weights(shared), shared, direction)
        (apart,) = torch.autograd.grad(weights(each), each, direction)
        torch.testing.assert_close(gradient, apart.sum_to_size(shape), rtol=0, atol=1e-12)


@each_strength
def test_gradient_along_another_dim(name, which):
    function, x, direction = FUNCTIONS[name], random_scores(5, 7, 3), random_scores(5, 7, 3)
    strengths = draw(name, 5, 1, 3)
    strengths[which].requires_grad_()
    (there,) = torch.autograd.grad(function(x, 1, **strengths), strengths[which], direction)
    last = {k: v.detach().transpose(1, 2).clone().requires_grad_() for k, v in strengths.items()}
    y = function(x.transpose(1, 2), **last)
    (here,) = torch.autograd.grad(y, last[which], direction.transpose(1, 2))
    torch.testing.assert_close(there, here.transpose(1, 2), rtol=0, atol=1e-14)


@each_strength
def test_empty_rows_have_no_gradient_invalid_rows_are_nan(name, which):
    x, direction = random_scores(8, 7), random_scores(8, 7)
    mask = torch.ones(8, 7, dtype=torch.bool)
    mask[1], mask[6, ::2] = False, False
    x[2] = -INF
    x[3, 2], x[4, 5], x[5, 0] = NAN, INF, -INF
    x[6, 0], x[6, 2] = NAN, INF  # both masked
    strengths = draw(name, 8, 1)
    strengths["gamma"] += 3.0  # so that no row has all its weight in one place, where nothing moves
    strengths[which].requires_grad_()
    y = FUNCTIONS[name](x, mask=mask, **strengths)
    (gradient,) = torch.autograd.grad(y, strengths[which], direction, create_graph=True)
    assert (gradient[[1, 2]] == 0).all()
    assert gradient[[3, 4]].isnan().all()
    assert gradient[[0, 5, 6, 7]].isfinite().all() and (gradient[[0, 5, 6, 7]] != 0).any()
    alone = FUNCTIONS[name](x[6, 1::2], **{k: v[6] for k, v in strengths.items()})
    (expected,) = torch.autograd.grad(alone, strengths[which], direction[6, 1::2])
    torch.testing.assert_close(gradient[6], expected[6], rtol=0, atol=1e-14)
    if gradient.requires_grad:
        clean = gradient[[0, 1, 2, 5, 6, 7]].sum()
        (second,) = torch.autograd.grad(clean, strengths[which], allow_unused=True)
        assert second is None or not second[[0, 1, 2, 5, 6, 7]].isnan().any()


each_place = pytest.mark.parametrize("place", [(), (3, 1)], ids=["one", "each"])


def learnt(name: str, *shape: int) -> list[Tensor]:
    return [v.requires_grad_() for v in draw(name, *shape).values()]


@each_place
@each_mapping
def test_gradcheck(name, place):
    weights, x = of_strengths(name), random_scores(3, 6).requires_grad_()
    for _ in range(3):
        inputs = (x, *learnt(name, *place))
        assert gradcheck(weights, inputs, check_forward_ad=True, check_batched_grad=True)
    only = draw(name, *place)  # each strength alone, while the others and the scores stand still
    for at, key in enumerate(only):
        alone = [v.clone().requires_grad_(i == at) for i, v in enumerate(only.values())]
        assert gradcheck(weights, (x.detach(), *alone), check_forward_ad=True), key


@each_mapping
def test_gradcheck_with_a_mask(name):
    inputs = (random_scores(3, 6).requires_grad_(), *learnt(name, 3, 1))
    weights = of_strengths(name, mask=torch.rand(3, 6) > 0.3)
    assert gradcheck(weights, inputs, check_forward_ad=True, check_batched_grad=True)


@each_place
@each_mapping
def test_gradgradcheck(name, place):
    inputs = (random_scores(3, 5).requires_grad_(), *learnt(name, *place))
    assert gradgradcheck(of_strengths(name), inputs, check_fwd_over_rev=True, check_rev_over_rev=True)


@each_strength
def test_forward_mode_is_reverse_mode(name, which):
    (x, direction), rest = random_scores(2, 50, 7), draw(name, 50, 1)
    weights, step = of_strength(name, which, x, rest), random_scores(50, 1)
    value, tangent = torch.func.jvp(weights, (rest[which],), (step,))
    _, pull_back = torch.func.vjp(weights, rest[which])
    assert torch.equal(value, FUNCTIONS[name](x, **rest))
    expected = (pull_back(direction)[0] * step).sum(-1)
    torch.testing.assert_close((tangent * direction).sum(-1), expected, rtol=0, atol=1e-12)
    assert tangent.abs().max() > 0.1
    both, _ = torch.func.jvp(
        lambda s, x: FUNCTIONS[name](x, **(rest | {which: s})), (rest[which], x), (step, x)
    )
    assert torch.equal(both, value)


@pytest.mark.parametrize(
    ("strength", "of_scores", "place"),
    pairwise(STRENGTHS, [torch.float32, torch.float64], [(), (5, 1)]),
)
def test_forward_mode_across_types(strength, of_scores, place):
    name, which = strength
    of_strength_type = torch.float64 if of_scores == torch.float32 else torch.float32
    x, rest = random_scores(5, 7, dtype=of_scores), draw(name, *place, dtype=of_strength_type)
    results = []
    for scores, strengths in ((x, rest), (x.double(), {k: v.double() for k, v in rest.items()})):
        weights, at = of_strength(name, which, scores, strengths), strengths[which]
        results.append(torch.func.jvp(weights, (at,), (torch.ones_like(at),)))
    (value, tangent), (_, expected) = results
    assert value.dtype == tangent.dtype == of_scores
    torch.testing.assert_close(tangent.double(), expected, rtol=2e-5, atol=2e-5)


def slopes_of_the_penalty(name: str, y: Tensor) -> Tensor:
    """What λ multiplies, differentiated; inside a group any split of its sum over the members will do."""
    if name == "fusedmax":
        step = torch.nn.functional.pad(y.diff(dim=-1).sign(), (1, 1))
        return step[:, :-1] - step[:, 1:]
    below = (y.unsqueeze(-1) > y.unsqueeze(-2)).sum(-1)
    return below + 0.5 * ((y.unsqueeze(-1) == y.unsqueeze(-2)).sum(-1) - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LAMS)
def test_groups_that_round_to_one_weight_are_apart_still(name, dtype):
    """Against −γ Σ (J g)·∂penalty/∂y with J g before it is rounded, and the groups of float64."""
    x, direction = (random_scores(200, 64) * 0.3).to(dtype), random_scores(200, 64).to(dtype)
    lam = torch.full((200, 1), LAMS[name][0] / 5, dtype=torch.float64).requires_grad_()
    (of_lam,) = torch.autograd.grad(FUNCTIONS[name](x, lam=lam), lam, direction)
    wide = x.float().requires_grad_()
    y = FUNCTIONS[name](wide, lam=lam.detach())
    (of_scores,) = torch.autograd.grad(y, wide, direction.float())
    y = FUNCTIONS[name](x.double(), lam=lam.detach())
    expected = -(of_scores.double() * slopes_of_the_penalty(name, y)).sum(-1, keepdim=True)
    torch.testing.assert_close(of_lam, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", LAMS)
def test_slope_of_the_penalty_on_long_rows_with_gaps_and_ties(name):
    x, direction = torch.randint(-64, 64, (60, 300)) / 64.0, random_scores(60, 300)
    x[::5, ::3], mask = -INF, torch.rand(60, 300) > 0.2
    mask[1], mask[2] = False, True
    solver = regattn.MAPPINGS[name].solver
    for lam in (0.0, LAMS[name][0] / 20):
        y, structure = solver.kernel(x.double(), mask, 1.0, lam)
        slope = solver.penalty_slope(x.double(), mask, y, structure, None)
        product = solver.product(structure, direction, 1.0)
        along = solver.penalty_slope(x.double(), mask, y, structure, product)
        assert (structure[:, 1] > 1).sum() > 50
        for r in range(len(x)):
            there = mask[r] & (x[r] > -INF)
            wanted = slopes_of_the_penalty(name, y[r : r + 1, there])[0]
            if structure[r, 1] > 1:
                support = y[r, there] > 0
                assert torch.equal(slope[r, there][support], wanted[support])
            total = (wanted * product[r, there]).sum()
            torch.testing.assert_close(along[r, 0], total, rtol=0, atol=1e-10)


# ------------------------------------------------------------------ function transforms
@each_mapping
def test_vmap_is_the_loop(name):
    """Over those of scores, mask and strengths that have a dimension to be mapped."""
    n, k = 4, len(draw(name))
    x, mask, strengths = random_scores(n, 3, 7), torch.rand(n, 3, 7) > 0.3, draw(name, n, 3, 1)

    def weights(x: Tensor, mask: Tensor, *each: Tensor) -> Tensor:
        return FUNCTIONS[name](x, mask=mask, **dict(zip(strengths, each, strict=True)))

    def pulled(*inputs: Tensor) -> tuple[Tensor, ...]:
        wanted = (0, *range(2, 2 + k))
        return torch.func.grad(lambda *given: (weights(*given) * x[0]).sum(), argnums=wanted)(*inputs)

    for over in (
        (None, None, *[0] * k),
        (None, None, 0, *[None] * (k - 1)),
        (0, None, *[None] * k),
        (0, None, *[0] * k),
        (None, 0, *[None] * k),
        (0, 0, *[0] * k),
    ):
        given = [t if at == 0 else t[0] for t, at in zip((x, mask, *strengths.values()), over, strict=True)]
        parts = [[t[i] if at == 0 else t for t, at in zip(given, over, strict=True)] for i in range(n)]
        mapped = torch.func.vmap(weights, in_dims=over)(*given)
        same(name, mapped, torch.stack([weights(*part) for part in parts]))
        gradients = torch.func.vmap(pulled, in_dims=over)(*given)
        loops = zip(*(pulled(*part) for part in parts), strict=True)
        for got, expected in zip(gradients, loops, strict=True):
            torch.testing.assert_close(got, torch.stack(expected), rtol=0, atol=1e-13)


@each_strength
def test_vmap_over_a_scalar_strength_and_along_other_dims(name, which):
    x, rest = random_scores(7, 3), draw(name)
    weights, of_one = of_strength(name, which, x, rest, 0), of_strength(name, which, x[:, 0], rest)
    several = draw(name, 5)[which]
    same(
        name,
        torch.func.vmap(weights, out_dims=1)(several),
        torch.stack([weights(s) for s in several], 1),
    )
    twice = torch.func.vmap(torch.func.vmap(of_one))(several[:4].reshape(2, 2))
    same(name, twice, torch.stack([of_one(s) for s in several[:4]]).reshape(2, 2, 7))
    columns = draw(name, 1, 3, 4)[which]  # the batch dimension last, the positions first
    mapped = torch.func.vmap(weights, in_dims=2)(columns)
    same(name, mapped, torch.stack([weights(s) for s in columns.unbind(2)]))


@each_strength
def test_vmap_over_arguments_of_fewer_dimensions(name, which):
    """A batch dimension goes in front of what an argument broadcasts to, not where it happens to fit."""
    weights = of_strength(name, which, random_scores(2, 4, 7), draw(name))
    each, mask = draw(name, 4, 4, 1)[which], torch.rand(4, 7) > 0.3
    loop = torch.stack([weights(s, m) for s, m in zip(each, mask, strict=True)])
    same(name, torch.func.vmap(weights)(each, mask), loop)
    ungrouped = torch.func.vmap(weights, in_dims=(1, None))(each.transpose(0, 1), mask[0])
    same(name, ungrouped, torch.stack([weights(s, mask[0]) for s in each]))


@each_strength
def test_jacobians_of_both_modes_agree(name, which):
    rest = draw(name, 3, 1)
    weights = of_strength(name, which, random_scores(3, 7), rest)
    forward, backward = torch.func.jacfwd(weights)(rest[which]), torch.func.jacrev(weights)(rest[which])
    torch.testing.assert_close(forward, backward, rtol=0, atol=1e-12)
    assert backward[0, :, 1:].count_nonzero() == 0, "a row's strength moves another row"
    assert backward[0, :, 0].abs().max() > 1e-3


@each_mapping
def test_hessians_of_all_nestings_agree(name):
    """By scores and strengths together; forward mode in forward mode was wrong in silence."""
    strengths, (x, direction), weights = draw(name), random_scores(2, 5), of_strengths(name)

    def half_square(x: Tensor, *each: Tensor) -> Tensor:
        return 0.5 * ((weights(x, *each) * direction) ** 2).sum()

    at, every = (x, *strengths.values()), tuple(range(1 + len(strengths)))
    ways = [
        outer(inner(half_square, argnums=every), argnums=every)(*at)
        for outer in (torch.func.jacrev, torch.func.jacfwd)
        for inner in (torch.func.jacrev, torch.func.jacfwd)
    ]
    assert ways[0][0][1].abs().max() > 1e-3
    for way in ways[1:]:
        torch.testing.assert_close(way, ways[0], rtol=0, atol=1e-10)


@each_mapping
def test_compiled_is_eager(name, fresh_compiler):
    x, direction = random_scores(2, 4, 7)
    weights, x = of_strengths(name, mask=torch.rand(4, 7) > 0.3), x.requires_grad_()
    for place in ((), (4, 1)):
        inputs, results = [x, *learnt(name, *place)], []
        for f in (weights, torch.compile(weights, fullgraph=True, backend="aot_eager")):
            y = f(*inputs)
            results.append([y, *torch.autograd.grad(y, inputs, direction)])
        same(name, *(r[0].detach() for r in results))
        torch.testing.assert_close(*(r[1:] for r in results), rtol=0, atol=1e-14)


@each_mapping
def test_compiled_module_learns_as_the_eager_one(name, fresh_compiler):
    x, direction = random_scores(2, 2, 3, 7)
    module, gradients = learnable(name, 3, 1), []
    for f in (module, torch.compile(module, fullgraph=True, backend="aot_eager")):
        module.zero_grad()
        (f(x) * direction).sum().backward()
        gradients.append([p.grad.clone() for p in module.parameters()])
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-14)
    assert all(g.abs().max() > 1e-3 for g in gradients[0])


# ------------------------------------------------------------------ modules
def learnable(name: str, *shape: int) -> Any:
    return MODULES[name](**{k: torch.nn.Parameter(v) for k, v in draw(name, *shape).items()})


@each_mapping
def test_parameters_belong_to_the_module(name):
    module, x = learnable(name, 3, 1), random_scores(3, 7)
    keys = list(draw(name))
    assert [k for k, _ in module.named_parameters()] == keys == list(module.state_dict())
    strengths = {k: getattr(module, k) for k in keys}
    same(name, module(x).detach(), FUNCTIONS[name](x, **strengths).detach())
    other = learnable(name, 3, 1)
    assert not torch.equal(other(x), module(x))
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x), module(x))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), module(x)) and repr(twin) == repr(module)
        assert [k for k, _ in twin.named_parameters()] == keys
        with torch.no_grad():
            next(twin.parameters()).mul_(2)
        assert not torch.equal(twin(x), module(x)), "the copy shares its parameters"
    assert "tensor of shape (3, 1)" in repr(module)
    single = module.float()
    assert all(p.dtype == torch.float32 for p in single.parameters())
    assert all(p.device.type == "meta" for p in module.to("meta").parameters())


@each_mapping
def test_tensor_that_is_no_parameter_is_a_buffer(name):
    strengths = draw(name, 3, 1)
    module, x = MODULES[name](**strengths), random_scores(3, 7)
    assert not list(module.parameters())
    assert [k for k, _ in module.named_buffers()] == list(strengths) == list(module.state_dict())
    assert torch.equal(module(x), FUNCTIONS[name](x, **strengths))
    assert torch.equal(copy.deepcopy(module)(x), module(x))
    assert all(b.dtype == torch.float32 for b in module.float().buffers())


@each_mapping
def test_module_with_tensors_certifies_and_has_a_maximum(name):
    module, x = learnable(name, 3, 1), random_scores(2, 3, 7)
    strengths = {k: getattr(module, k) for k in draw(name)}
    weights = module(x).detach()
    assert regattn.certify(x, weights, module).max() < 1e-13
    maximum = regattn.max_omega(x, module)
    assert torch.equal(maximum, regattn.max_omega(x, FUNCTIONS[name], **strengths))
    (maximum.sum() - 1).backward()
    assert all(p.grad.shape == (3, 1) and p.grad.abs().max() > 0 for p in module.parameters())


@pytest.mark.parametrize(("name", "start", "target"), [("fusedmax", 0.02, 0.3), ("oscarmax", 0.002, 0.05)])
def test_training_finds_the_lam_that_made_the_weights(name, start, target):
    x = random_scores(200, 7)
    goal = FUNCTIONS[name](x, lam=target)
    module = MODULES[name](lam=torch.nn.Parameter(torch.tensor(start, dtype=torch.float64)))
    optimizer = torch.optim.Adam(module.parameters(), lr=target / 10)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(((module(x) - goal) ** 2).sum())
        losses[-1].backward()
        optimizer.step()
        with torch.no_grad():
            module.lam.clamp_(min=0)
    assert losses[-1] < 1e-2 * losses[0]
    assert float(module.lam.detach()) == pytest.approx(target, rel=0.05)


# ------------------------------------------------------------------ errors: wanted and got
BAD = {"gamma": (0.0, -1.0, NAN, INF), "lam": (-0.1, NAN, INF), "alpha": (0.9, NAN, INF)}
WANTED = {"gamma": "above 0", "lam": "at least 0", "alpha": "at least 1"}


@each_strength
def test_refuses_bad_entries(name, which):
    x = random_scores(3, 7)
    for value in BAD[which]:
        for bad in (torch.tensor(value), torch.tensor([[0.5], [value], [0.5]], dtype=torch.float64)):
            with pytest.raises(ValueError, match=rf"{which} must be finite and {WANTED[which]}, got tensor"):
                FUNCTIONS[name](x, **{which: bad})
            module = MODULES[name](**{which: torch.nn.Parameter(bad)})
            with pytest.raises(ValueError, match=rf"{which} must be finite and {WANTED[which]}"):
                module(x)
        with pytest.raises(ValueError, match=rf"{which} must be finite and {WANTED[which]}, got {value}"):
            MODULES[name](**{which: value})


@each_strength
def test_refuses_wrong_types_and_shapes(name, which):
    function, x = FUNCTIONS[name], random_scores(3, 4, 7)
    for bad in (torch.tensor(1), torch.tensor([[1]] * 4), torch.tensor(True), torch.tensor(0.5 + 0j)):
        with pytest.raises(TypeError, match=rf"{which} must be a floating-point tensor, got torch\.\w+"):
            function(x, **{which: bad})
    for shape, dim in (
        ((7,), -1),
        ((4, 7), -1),
        ((3, 4, 7), -1),
        ((2, 1, 1), -1),
        ((4,), -1),
        ((1, 3, 4, 1), -1),
        ((3, 4, 1), 1),
        ((4, 1), 1),
        ((0,), -1),
        ((3, 1, 1), 0),
    ):
        wanted = rf"broadcastable to scores of shape \(3, 4, 7\) with size 1 along dim {dim}, got \("
        with pytest.raises(ValueError, match=f"{which} must be {wanted}"):
            function(x, dim, **{which: torch.full(shape, 0.5)})
    with pytest.raises(ValueError, match=f"{which} must be on the device of the scores, cpu, got meta"):
        function(x, **{which: torch.full((4, 1), 0.5, device="meta")})


def test_p_stays_a_number():
    with pytest.raises(TypeError, match=r"p must be a number in \(1, 2\], got tensor"):
        regattn.pnormmax(random_scores(7), p=torch.tensor(1.5))


@each_strength
def test_bad_strength_that_cannot_be_seen_makes_its_row_nan(name, which):
    x, rest = random_scores(7), draw(name)
    weights = of_strength(name, which, x, rest)
    values = torch.tensor([*BAD[which], float(rest[which])], dtype=torch.float64)
    mapped = torch.func.vmap(weights)(values)
    assert mapped[:-1].isnan().all()
    same(name, mapped[-1], weights(values[-1]))
    gradients = torch.func.vmap(torch.func.grad(lambda s: (weights(s) * x).sum()))(values)
    assert gradients[:-1].isnan().all() and gradients[-1].isfinite()


@each_strength
def test_rows_with_bad_strengths_are_nan_and_the_others_as_ever(name, which, measure, fresh_compiler):
    """In eager code, which sees them, they are refused."""
    found = measure("bad strengths", parts=len(STRENGTHS))
    (x, direction), strengths = random_scores(2, found.n, 7), draw(name, found.n, 1)
    bad = (torch.rand(found.n, 1) < 0.3).index_fill(0, torch.tensor([0]), True)
    values = torch.tensor(BAD[which], dtype=torch.float64)[torch.randint(len(BAD[which]), bad.shape)]
    spoilt = {**strengths, which: torch.where(bad, values, strengths[which])}
    weights = of_strengths(name)
    with pytest.raises(ValueError, match=f"{which} must be finite and {WANTED[which]}"):
        weights(x, *spoilt.values())
    results = []
    for each in (strengths, spoilt):
        inputs = [t.detach().clone().requires_grad_() for t in (x, *each.values())]
        y = torch.compile(weights, fullgraph=True, backend="aot_eager")(*inputs)
        results.append((y.detach(), *torch.autograd.grad(y, inputs, direction)))
    for wanted, got in zip(*results, strict=True):
        as_ever = (got == wanted).all(-1, keepdim=True)
        found.all(torch.where(bad, got.isnan().all(-1, keepdim=True), as_ever).flatten(), mapping=name)


# ------------------------------------------------------------------ groups, certificates, maxima, losses
@each_mapping
def test_groups_are_those_of_the_loop(name):
    of_row = partial(regattn.groups, mapping=FUNCTIONS[name])
    for shape, dim, place in PLACES:
        x, strengths, mask = random_scores(*shape), draw(name, *place), torch.rand(shape) > 0.2
        labels = regattn.groups(x, FUNCTIONS[name], dim, mask=mask, **strengths)
        assert torch.equal(labels, by_loop(of_row, x, dim, mask, **strengths))
    x, module = random_scores(3, 7), learnable(name, 3, 1)
    assert torch.equal(regattn.groups(x, module) > 0, module(x) > 0)


@each_mapping
def test_certificates_and_maxima_are_those_of_the_loop(name):
    for shape, dim, place in PLACES:
        function, x, strengths = FUNCTIONS[name], random_scores(*shape), draw(name, *place)
        wrong = {k: 1.5 * v for k, v in strengths.items()}
        mask = torch.rand(shape) > 0.2
        weights = function(x, dim, mask=mask, **strengths)
        assert regattn.certify(x, weights, function, dim, mask=mask, **strengths).max() < 1e-13
        found = regattn.certify(x, weights, function, dim, mask=mask, **wrong)
        maxima = regattn.max_omega(x, function, dim, mask=mask, **strengths)
        target = torch.softmax(x, dim).where(mask, torch.zeros(()).double())
        target = (target / target.sum(dim, keepdim=True)).nan_to_num(0.0)
        losses = regattn.fenchel_young_loss(x, target, function, dim, mask=mask, **strengths)
        last, count = shape[dim], found.numel()

        def rows(tensor: Tensor, shape=shape, dim=dim, last=last) -> Tensor:
            return tensor.expand(shape).movedim(dim, -1).reshape(-1, last)

        assert count == maxima.numel() == losses.numel() == len(rows(x))
        for i in range(count):
            row, y, t, m = (rows(each)[i] for each in (x, weights, target, mask))
            here = {k: float(rows(v)[i, 0]) for k, v in strengths.items()}
            bad = {k: 1.5 * v for k, v in here.items()}
            for got, expected in (
                (found, regattn.certify(row, y, function, mask=m, **bad)),
                (maxima, regattn.max_omega(row, function, mask=m, **here)),
                (losses, regattn.fenchel_young_loss(row, t, function, mask=m, **here)),
            ):
                torch.testing.assert_close(got.reshape(-1)[i], expected, rtol=0, atol=1e-14)


@each_strength
def test_gradient_of_the_maximum_is_what_the_penalty_says(name, which):
    """∂/∂γ of max ⟨x, y⟩ − γΩ(y) is −Ω at the argmax; no kinks: max_Ω is smooth in its strengths."""
    step, function = 1e-5, FUNCTIONS[name]
    for mask in (None, HOLES):
        (x, other), strengths = random_scores(2, 100, 7), draw(name, 100, 1)
        maximum = partial(regattn.max_omega, x, function, mask=mask)
        loss = partial(regattn.fenchel_young_loss, x, function(other, mask=mask), function, mask=mask)
        low, high = ({**strengths, which: strengths[which] + sign * step} for sign in (-1, 1))
        strengths[which].requires_grad_()
        for value in (maximum, loss):
            slope = (value(**high) - value(**low)) / (2 * step)
            (gradient,) = torch.autograd.grad(value(**strengths).sum(), strengths[which])
            torch.testing.assert_close(gradient[:, 0], slope, rtol=0, atol=1e-5)
        if which == "gamma":
            (gradient,) = torch.autograd.grad(maximum(**strengths).sum(), strengths[which])
            y = function(x, mask=mask, **strengths)
            inner = torch.where(y > 0, x * y, 0.0).sum(-1)
            omega = (inner - maximum(**strengths)) / strengths["gamma"][:, 0]
            torch.testing.assert_close(gradient[:, 0], -omega.detach(), rtol=0, atol=1e-13)


@each_mapping
def test_maximum_keeps_the_type_of_the_scores(name):
    for of_scores, of_strength in ((torch.float32, torch.float64), (torch.bfloat16, torch.float32)):
        for place in ((), (4, 1)):
            x = random_scores(4, 7, dtype=of_scores)
            maximum = regattn.max_omega(x, FUNCTIONS[name], **draw(name, *place, dtype=of_strength))
            assert maximum.dtype == of_scores


# ------------------------------------------------------------------ odd strengths
@pytest.mark.parametrize(
    ("name", "scores", "lam", "expected"),
    [
        ("fusedmax", [-1e18, 0.0, -1e18], 1e17, [0.0, 1.0, 0.0]),
        ("oscarmax", [0.2, 0.1, 0.0, 0.3], 1e308, [0.25] * 4),
    ],
)
def test_large_lam(name, scores, lam, expected):
    y = FUNCTIONS[name](torch.tensor(scores, dtype=torch.float64), lam=lam)
    assert y.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["softmax", "sparsemax"])
def test_any_real_number_is_a_strength_or_refused(name):
    x, half = random_scores(3, 7), Fraction(1, 2)
    same("softmax", FUNCTIONS[name](x, gamma=half), FUNCTIONS[name](x, gamma=0.5))


def test_gradient_by_lam_along_another_dim_warns_of_nothing():
    code = """
import torch, regattn
lam = torch.tensor(0.1, requires_grad=True)
regattn.oscarmax(torch.randn(5, 3), 0, lam=lam).sum().backward()
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr  # torch warns once in a process, hence one of its own


# ------------------------------------------------------------------ the published composition
@pytest.mark.parametrize("which", ["gamma", "lam"])
def test_published_oscarmax_refuses_tensors(which):
    with pytest.raises(TypeError, match=f"{which} must be a number .*, got tensor"):
        regattn.oscarmax_published(random_scores(4, 7), **{which: torch.tensor(1.0)})


# ------------------------------------------------------------------ strengths that cannot leave their range
LEARNABLE = [
    (name, strength)
    for name, spec in regattn.MAPPINGS.items()
    if "learn" in inspect.signature(spec.module).parameters
    for strength in spec.strengths
    if strength.range.learnable
]
each_learnable = pytest.mark.parametrize(
    ("name", "strength"), LEARNABLE, ids=[f"{name}-{strength.name}" for name, strength in LEARNABLE]
)


def test_every_mapping_of_an_omega_learns_its_strengths():
    assert {name for name, _ in LEARNABLE} == set(OF_OMEGA)


@each_learnable
def test_a_learnt_strength_starts_where_it_is_told(name, strength):
    x, which = random_scores(3, 7).float(), strength.name
    module = regattn.MAPPINGS[name].module(learn=[which])
    assert [key for key, _ in module.named_parameters()] == [f"raw_{which}"]
    assert getattr(module, which).item() == pytest.approx(strength.default, rel=1e-6)
    assert repr(module).endswith(f"learn=('{which}',))") and f"{which}={strength.default:g}" in repr(module)
    torch.testing.assert_close(module(x), regattn.MAPPINGS[name].module()(x), atol=1e-6, rtol=0)
    rows = regattn.MAPPINGS[name].module(**{which: torch.full((3, 1), strength.default)}, learn=(which,))
    assert getattr(module, f"raw_{which}").shape == () and getattr(rows, which).shape == (3, 1)
    torch.testing.assert_close(rows(x), module(x))


@each_learnable
def test_no_step_takes_a_learnt_strength_out_of_its_range(name, strength):
    x, which = random_scores(3, 7).float(), strength.name
    module = regattn.MAPPINGS[name].module(learn=(which,))
    for far in (-1e30, -200.0, -90.0, 90.0, 200.0, 1e30):
        with torch.no_grad():
            getattr(module, f"raw_{which}").fill_(far)
        value = getattr(module, which).item()
        assert strength.range.smallest <= value <= strength.range.largest
        assert bool(module(x).isfinite().all())


@each_learnable
def test_the_gradient_of_a_learnt_strength_is_a_difference(name, strength):
    x, which = random_scores(20, 7), strength.name
    direction = torch.randn(20, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    module = regattn.MAPPINGS[name].module(learn=(which,)).double()
    raw = getattr(module, f"raw_{which}")
    (module(x) * direction).sum().backward()
    ends = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            raw.add_(step)
            ends.append((module(x) * direction).sum().item())
            raw.sub_(step)
    assert raw.grad.item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-7)


@each_learnable
def test_a_learnt_strength_is_copied_saved_and_compiled(name, strength, fresh_compiler):
    x, which = random_scores(3, 7).float(), strength.name
    module = regattn.MAPPINGS[name].module(learn=(which,))
    with torch.no_grad():
        getattr(module, f"raw_{which}").add_(0.3)
    other = regattn.MAPPINGS[name].module(learn=(which,))
    other.load_state_dict(module.state_dict())
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), other):
        assert torch.equal(twin(x), module(x)) and repr(twin) == repr(module)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x), atol=1e-6, rtol=0)
    module(x).square().sum().backward()
    assert getattr(module, f"raw_{which}").grad is not None
    assert torch.equal(regattn.groups(x, module) > 0, module(x) > 0)


def test_training_finds_a_lam_from_far_away():
    x = random_scores(200, 7)
    goal = regattn.fusedmax(x, lam=0.3)
    module = regattn.Fusedmax(lam=0.001, learn=("lam",)).double()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.2)
    for _ in range(80):
        optimizer.zero_grad()
        ((module(x) - goal) ** 2).sum().backward()
        optimizer.step()
    assert module.lam.item() == pytest.approx(0.3, rel=0.05)


def test_what_cannot_be_learnt_is_refused():
    with pytest.raises(ValueError, match=r"strengths of PNormmax that can be learnt, gamma, got 'p'"):
        regattn.PNormmax(learn=("p",))
    with pytest.raises(ValueError, match=r"of Fusedmax that can be learnt, gamma or lam, got 'p'"):
        regattn.Fusedmax(learn=("p",))
    with pytest.raises(ValueError, match=r"lam must be strictly inside its range \(at least 0\)"):
        regattn.Fusedmax(lam=0.0, learn=("lam",))
    lam = torch.nn.Parameter(torch.tensor(-0.1))
    with pytest.raises(ValueError, match=r"lam must be finite and .*; a Module's learn=\('lam',\)"):
        regattn.Fusedmax(lam=lam)(torch.randn(5))
