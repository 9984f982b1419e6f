"""What all mappings promise about masks, odd scores, shapes and errors."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

import regattn
from tests.mappings import (
    BLOCKS,
    FUNCTIONS,
    MODULES,
    OF_OMEGA,
    ON_SIMPLEX,
    agree,
    random_scores,
    same_bits,
    totals,
    weights_and_gradient,
)
from tests.oracles import bound

NAN, INF = float("nan"), float("inf")
PROBLEMS = {name: FUNCTIONS[name] for name in OF_OMEGA}  # blind to constants
each_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
each_problem = pytest.mark.parametrize("function", PROBLEMS.values(), ids=PROBLEMS)
ALL: dict[str, Callable[..., Tensor]] = {**FUNCTIONS, **BLOCKS}
each_function_or_block = pytest.mark.parametrize("function", ALL.values(), ids=ALL)
each_on_simplex = pytest.mark.parametrize(
    "function", [FUNCTIONS[name] for name in ON_SIMPLEX], ids=ON_SIMPLEX
)
each_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


# ------------------------------------------------------------------ masks
SUMMED_BY_TORCH = (regattn.softmax, regattn.pnormmax)  # in the backward pass at least: rounding differs
BITS = 1e-300  # under every difference of two numbers that are not equal


@each_function
def test_masked_is_removed(function, measure):
    """Forward and backward, under every mask of 6 positions, whatever stands under the mask."""
    d, facts = 6, {"d": 6, "dtype": "float64"}
    forward = measure("masked", parts=len(FUNCTIONS) - 1)
    backward = measure("masked gradient", parts=len(FUNCTIONS) - len(SUMMED_BY_TORCH))
    sums = measure("masked sums", parts=len(SUMMED_BY_TORCH))
    masks = torch.tensor(list(itertools.product([False, True], repeat=d))[1:])
    n = -(-max(forward.n, (sums if function in SUMMED_BY_TORCH else backward).n) // len(masks))
    x, direction = random_scores(2, len(masks), n, d)
    mask = masks.unsqueeze(1).expand(-1, n, -1)
    junk = torch.tensor([NAN, INF, -INF, 1e300, -1e9], dtype=torch.float64)[torch.randint(5, x.shape)]
    y, gradient = weights_and_gradient(function, torch.where(mask, x, junk), direction, mask=mask)
    assert (y[~mask] == 0).all() and (gradient[~mask] == 0).all()
    for m, *left in zip(masks, y, gradient, x, direction, strict=True):
        weights, slopes, scores, along = (t[:, m] for t in left)
        alone, slopes_alone = weights_and_gradient(function, scores, along)
        if function in SUMMED_BY_TORCH:
            error = torch.maximum((slopes - slopes_alone).abs(), (weights - alone).abs())
            sums.within(error.amax(-1), 1e-13, **facts)
        else:
            backward.all((slopes == slopes_alone).all(-1), **facts)
        if function is not regattn.softmax:
            forward.all((weights == alone).all(-1), **facts)


@each_function
def test_padding_is_invisible(function, measure):
    row, sides = measure("padding", parts=len(FUNCTIONS)), ((0, 5), (4, 0), (2, 3))
    x, direction = torch.randn(2, -(-row.n // len(sides)), 6)
    alone = weights_and_gradient(function, x, direction)
    for left, right in sides:
        padded, ones = (
            torch.nn.functional.pad(t, (left, right), value=v) for t, v in ((x, 7.0), (torch.ones(6), 0.0))
        )
        wide = torch.nn.functional.pad(direction, (left, right), value=3.0)
        found = weights_and_gradient(function, padded, wide, mask=ones.bool())
        errors = []
        for got, expected in zip(found, alone, strict=True):
            inside = got[:, left : left + 6]
            errors.append((inside - expected).abs().amax(-1))
            assert got.count_nonzero() == inside.count_nonzero()
        row.within(torch.maximum(*errors), 2e-7 if function in SUMMED_BY_TORCH else BITS, dtype="float32")


def test_neighbours_of_a_masked_position_become_neighbours():
    x = torch.tensor([1.0, 9.0, 1.1], dtype=torch.float64)
    mask = torch.tensor([True, False, True])
    assert regattn.fusedmax(x, lam=0.1, mask=mask).tolist() == [0.5, 0.0, 0.5]


@each_function
def test_mask_broadcasts_and_minus_infinity_is_a_mask(function):
    x = random_scores(3, 4, 5)
    for shape in ((5,), (1, 5), (4, 1), (3, 1, 5), (3, 4, 5)):
        mask = torch.rand(shape) > 0.3
        full = mask.expand(3, 4, 5)
        assert same_bits(function(x, mask=mask), function(x.masked_fill(~full, -INF)))
        assert same_bits(function(x, mask=mask), function(x, mask=full.contiguous()))


@each_function
@pytest.mark.measures("odd scores")
def test_row_without_anything_left_is_zero_with_zero_gradient(function):
    x = random_scores(3, 4)
    mask = torch.tensor([[True] * 4, [False] * 4, [True] * 4])
    y, gradient = weights_and_gradient(function, x, random_scores(3, 4), mask=mask)
    assert (y[1] == 0).all() and (gradient[1] == 0).all()
    assert same_bits(y[[0, 2]], function(x[[0, 2]]))
    y, gradient = weights_and_gradient(function, torch.full((2, 4), -INF), torch.randn(2, 4))
    assert (y == 0).all() and (gradient == 0).all()


# ------------------------------------------------------------------ odd scores
@each_function
@pytest.mark.measures("odd scores")
def test_invalid_row_is_nan_and_its_neighbours_untouched(function):
    x, direction = torch.randn(2, 50, 7)
    clean = weights_and_gradient(function, x, direction)
    x[20, 3], x[30, 0] = NAN, INF
    invalid = x.amax(-1) - x.amax(-1) != 0
    for got, expected in zip(weights_and_gradient(function, x, direction), clean, strict=True):
        assert got[invalid].shape == (2, 7) and got[invalid].isnan().all()
        assert same_bits(got[~invalid], expected[~invalid])


@each_on_simplex
@pytest.mark.measures("odd scores")
def test_extreme_scores(function):
    tiny = torch.finfo(torch.float64).tiny
    for x, expected in (
        ([1e30, 0.0, -1e30], [1.0, 0.0, 0.0]),
        ([-1e30, -1e30, -INF], [0.5, 0.5, 0.0]),
        ([tiny / 8, 0.0, tiny / 4], [1 / 3] * 3),
        ([1.7e308, 1.7e308, -1.7e308], [0.5, 0.5, 0.0]),
    ):
        y = function(torch.tensor(x, dtype=torch.float64))
        torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-15)


@each_function
@pytest.mark.measures("odd scores")
def test_one_position(function):
    x = torch.tensor([[3.0], [-1e30], [-INF]])
    y, gradient = weights_and_gradient(function, x, torch.ones(3, 1))
    assert y.flatten().tolist() == [1.0, 1.0, 0.0]
    assert (gradient == 0).all()


# ------------------------------------------------------------------ invariances
def limit(function: Callable[..., Tensor], x: Tensor, gamma: float = 1.0) -> np.ndarray:
    """What certificates allow, row by row."""
    lam = {regattn.fusedmax: 0.1, regattn.oscarmax: 0.01}.get(function, 0.0)
    return bound(x.numpy(), gamma=gamma, lam=lam)


@each_problem
def test_adding_a_constant_changes_nothing(function, measure):
    row = measure("+ constant", parts=len(PROBLEMS))
    # So that the sums below are exact.
    x = torch.randint(-1000, 1000, (-(-row.n // 3), 8)).double() / 256
    y = function(x)
    for constant in (1.0, -1e3, 2.0**30):
        row.within((function(x + constant) - y).abs().amax(-1), limit(function, x), constant=constant)
    x = x.float()
    assert ((function(x + 1e4).sum(-1) - totals(function, x > -INF)).abs() <= 1e-6).all()


BLIND_TO_ORDER = [name for name in PROBLEMS if name != "fusedmax"]


@pytest.mark.parametrize("name", BLIND_TO_ORDER)
def test_permutation(name, measure):
    row, order = measure("permutation", parts=len(BLIND_TO_ORDER)), torch.randperm(8)
    function = PROBLEMS[name]
    x = random_scores(row.n, 8)
    row.within((function(x[:, order]) - function(x)[:, order]).abs().amax(-1), limit(function, x), d=8)


@each_problem
def test_reversal(function, measure):
    row = measure("reversal", parts=len(PROBLEMS))
    x = random_scores(row.n, 8)
    row.within((function(x.flip(-1)) - function(x).flip(-1)).abs().amax(-1), limit(function, x), d=8)


@each_function
def test_gamma_divides_the_scores(function, measure):
    row = measure("gamma", parts=len(FUNCTIONS))
    x = random_scores(-(-row.n // 2), 8)
    for gamma in (0.25, 3.0):
        error = (function(x, gamma=gamma) - function(x / gamma)).abs().amax(-1)
        row.within(error, limit(function, x, gamma), d=8, gamma=gamma)
    assert (function(x, gamma=1e-12).amax(-1) > 1 - 1e-9).all()
    assert same_bits(function(x.float(), gamma=1e-30).amax(-1), torch.ones(len(x)))


@pytest.mark.parametrize("name", ["fusedmax", "oscarmax", "oscarmax_published"])
def test_lam_zero_is_sparsemax_value_and_gradient_ties_included(name):
    function = partial(FUNCTIONS[name], lam=0.0)
    x = torch.randint(0, 3, (500, 6)).double()
    direction = random_scores(500, 6)
    expected = weights_and_gradient(regattn.sparsemax, x, direction)
    torch.testing.assert_close(weights_and_gradient(function, x, direction), expected, rtol=0, atol=1e-15)


def test_p_two_is_sparsemax():
    x = random_scores(100, 6)
    assert same_bits(regattn.pnormmax(x, p=2), regattn.sparsemax(x))
    near = regattn.pnormmax(x, p=2 - 1e-9)
    torch.testing.assert_close(near, regattn.sparsemax(x), rtol=0, atol=1e-7)


def test_budget_of_1_is_sparsemax_and_of_all_is_1():
    x = random_scores(100, 6)
    torch.testing.assert_close(regattn.budget(x, k=1), regattn.sparsemax(x), rtol=0, atol=1e-15)
    mask = torch.rand(100, 6) > 0.3
    for k in (6, 7.5):
        y, gradient = weights_and_gradient(regattn.budget, x, torch.randn_like(x), k=k, mask=mask)
        assert torch.equal(y, mask.double()) and not gradient.any()


def test_budget_where_weights_reach_both_ends():
    """Exact where all numbers are binary fractions; and scores may be far apart."""
    for x, k, expected in (
        ([3.0, 3.0, 2.0], 2, [1.0, 1.0, 0.0]),
        ([3.0, 2.5, 2.5, 0.0], 2, [1.0, 0.5, 0.5, 0.0]),
        ([3.0, 2.5, 1.75], 1.5, [1.0, 0.5, 0.0]),
        ([1.0, 1.0, 1.0, 1.0], 3, [0.75] * 4),
        ([1e30, 0.0, -1e30], 2, [1.0, 1.0, 0.0]),
        ([2.0**40, 0.0, 0.0, -(2.0**40)], 2, [1.0, 0.5, 0.5, 0.0]),
        ([1.7e308, -1.7e308, -1.7e308], 1, [1.0, 0.0, 0.0]),
    ):
        scores = torch.tensor(x, dtype=torch.float64)
        direction = torch.arange(len(x)).double()
        y, gradient = weights_and_gradient(regattn.budget, scores, direction, k=k)
        assert y.tolist() == expected
        inside = (y > 0) & (y < 1)
        centred = direction - direction[inside].mean()
        assert torch.equal(gradient, torch.where(inside, centred, 0.0))


# ------------------------------------------------------------------ shapes, strides, types
@each_function_or_block
def test_any_dim_and_any_strides(function, measure):
    rng, row = np.random.default_rng(0), measure("shapes", parts=len(ALL))
    for _ in range(row.n):
        x = torch.randn(*(int(n) for n in rng.integers(1, 5, rng.integers(1, 5))), dtype=torch.float64)
        dim = int(rng.integers(-x.ndim, x.ndim))
        expected = function(x.movedim(dim, -1).contiguous(), dim=-1).movedim(-1, dim)
        transposed = x.movedim(0, -1).contiguous().movedim(-1, 0)
        sliced = torch.stack([x, x + 1], -1).flatten(-2)[..., ::2]
        views = (x, transposed, sliced, x.flip(0).flip(0))
        same = [agree(function, function(view, dim=dim), expected) for view in views]
        expanded = x[None].expand(3, *x.shape)
        got = function(expanded, dim=dim if dim < 0 else dim + 1)
        row.all(all(same) and agree(function, got, expected.expand_as(got)))


@each_function_or_block
def test_gradient_through_views(function):
    x = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    direction = random_scores(4, 5, 6)
    (straight,) = torch.autograd.grad(function(x, dim=1), x, direction)
    (moved,) = torch.autograd.grad(function(x.transpose(1, 2)), x, direction.transpose(1, 2))
    assert agree(function, straight, moved)
    (summed,) = torch.autograd.grad(function(x[0].expand(4, 5, 6)).sum(0)[..., 0].sum(), x)
    (once,) = torch.autograd.grad(function(x[0])[..., 0].sum(), x)
    torch.testing.assert_close(summed, 4 * once)


@each_function_or_block
def test_row_alone_is_row_in_a_batch(function, measure):
    dtypes = (torch.float64, torch.float32, torch.bfloat16)
    measured = measure("row alone", parts=len(ALL) * len(dtypes))
    for dtype in dtypes:
        x = torch.randn(measured.n, 11).to(dtype)
        y = function(x)
        assert y.dtype == dtype
        alone = torch.stack([function(row) for row in x])
        measured.all((alone == y).all(-1), dtype=str(dtype), d=11)


@each_function_or_block
@pytest.mark.measures("odd scores")
def test_no_rows_is_fine_and_no_columns_an_error(function):
    empty = torch.randn(0, 5, requires_grad=True)
    y = function(empty)
    assert y.shape == (0, 5)
    y.sum().backward()
    assert empty.grad.shape == (0, 5)
    assert function(torch.randn(3, 0, 5), dim=-1).shape == (3, 0, 5)
    with pytest.raises(ValueError, match=r"at least one position along dim -1, got shape \(3, 0\)"):
        function(torch.randn(3, 0))


@each_function_or_block
def test_scores_are_left_as_they_were(function):
    x = torch.randn(5, 6)
    before = x.clone()
    function(x)
    assert same_bits(x, before)


# ------------------------------------------------------------------ errors: wanted and got
@each_function_or_block
@pytest.mark.measures("odd scores")
def test_refuses_what_is_no_floating_tensor(function):
    for scores, match in (
        (torch.arange(3), r"floating-point tensor, got torch\.int64"),
        (torch.ones(3, dtype=torch.bool), r"floating-point tensor, got torch\.bool"),
        ([1.0, 2.0], r"must be a torch\.Tensor, got list"),
    ):
        with pytest.raises(TypeError, match=match):
            function(scores)


@each_function_or_block
@pytest.mark.measures("odd scores")
def test_refuses_bad_dims(function):
    x = torch.randn(2, 3)
    for dim in (2, -3):
        with pytest.raises(ValueError, match=rf"dim must be in \[-2, 1\], got {dim}"):
            function(x, dim=dim)
    for dim in (1.0, "1", None, True):
        with pytest.raises(TypeError, match="dim must be an int, got"):
            function(x, dim=dim)
    with pytest.raises(ValueError, match="at least one dimension, got a scalar"):
        function(torch.tensor(1.0))


@each_function
@pytest.mark.measures("odd scores")
def test_refuses_bad_masks(function):
    x = torch.randn(2, 3)
    integers = (
        torch.ones(2, 3).long(),
        r"torch.int64; pass mask.bool\(\) if 1 is where attention is allowed",
    )
    for mask, got in ((torch.ones(2, 3), "torch.float32"), ([True] * 3, "list"), integers):
        with pytest.raises(ValueError, match=f"mask must be a bool tensor .* got {got}"):
            function(x, mask=mask)
    for shape in ((3, 2), (1, 2, 3), (2,)):
        with pytest.raises(ValueError, match=r"broadcastable to scores of shape \(2, 3\), got \("):
            function(x, mask=torch.ones(shape, dtype=torch.bool))


BAD_STRENGTHS = {
    "gamma": (0.0, -1.0, NAN, INF),
    "lam": (-0.1, NAN, INF),
    "p": (1.0, 0.5, 2.5, NAN, INF),
    "alpha": (0.9, -1.0, NAN, INF),
    "k": (0.0, -1.0, NAN, INF),
}


@pytest.mark.parametrize("spec", regattn.MAPPINGS.values(), ids=FUNCTIONS)
@pytest.mark.measures("odd scores")
def test_refuses_bad_strengths(spec):
    for strength in spec.defaults:
        for value in BAD_STRENGTHS[strength]:
            for refuses in (partial(spec.function, torch.randn(3)), spec.module):
                with pytest.raises(ValueError, match=f"{strength} must be finite and .*, got {value}"):
                    refuses(**{strength: value})


@each_function
@pytest.mark.measures("odd scores")
def test_refuses_strengths_that_are_no_numbers(function):
    for value in ("1", None, 1j, True):
        with pytest.raises(TypeError, match="gamma must be a number above 0, got"):
            function(torch.randn(3), gamma=value)


# ------------------------------------------------------------------ modules
@each_module
def test_module_is_its_function(module):
    x, mask = random_scores(4, 5), torch.rand(4, 5) > 0.3
    function = type(module).function
    assert same_bits(module(x), function(x, **module.strengths))
    assert same_bits(module(x, mask), function(x, mask=mask, **module.strengths))
    other = type(module)(0)
    assert same_bits(other(x), function(x, 0))
    assert not list(module.parameters())


@each_module
def test_module_survives_copies_and_pickling(module):
    x = random_scores(4, 5)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(twin) == repr(module) and same_bits(twin(x), module(x))
    assert all(f"{name}={value}" in repr(module) for name, value in module.strengths.items())
