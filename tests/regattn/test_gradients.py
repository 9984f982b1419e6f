"""Derivatives of every order and in every mode, of every mapping and building block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import regattn
from regattn import groups
from regattn.kernels import reference
from tests import oracles
from tests.mappings import APPLIED, BLOCKS, READ_OFF, SOLVED, random_scores, weights_and_gradient
from tests.pairwise import pairwise

Function = Callable[..., Tensor]
MAPPINGS: dict[str, Function] = {**APPLIED, "pnormmax_2": partial(regattn.pnormmax, gamma=0.7, p=2.0)}
ALL: dict[str, Function] = {
    **MAPPINGS,
    **BLOCKS,
    "project_simplex": regattn.project_simplex,
    "isotonic_increasing": regattn.isotonic_regression,
}
each_function = pytest.mark.parametrize("function", ALL.values(), ids=ALL)
each_mapping = pytest.mark.parametrize("function", MAPPINGS.values(), ids=MAPPINGS)


def points(*shape: int) -> Tensor:
    return random_scores(*shape).requires_grad_()


# ------------------------------------------------------------------ against finite differences
@each_function
@pytest.mark.measures("gradcheck")
def test_gradcheck(function):
    for _ in range(3):
        assert gradcheck(function, points(3, 6), check_forward_ad=True, check_batched_grad=True)


@each_function
@pytest.mark.measures("gradcheck")
def test_gradgradcheck(function):
    assert gradgradcheck(function, points(3, 5), check_fwd_over_rev=True, check_rev_over_rev=True)


@each_mapping
@pytest.mark.measures("gradcheck")
def test_gradcheck_along_another_dim_with_a_mask(function):
    mask = torch.tensor([[True, False, True, True, True], [True, True, True, False, True]]).T
    assert gradcheck(lambda x: function(x, 0, mask=mask), points(5, 2), check_forward_ad=True)


# ------------------------------------------------------------------ against closed forms
@pytest.mark.parametrize(
    ("mapping", "strengths"),
    [
        ("sparsemax", {"gamma": 0.7}),
        ("fusedmax", {"gamma": 0.7, "lam": 0.1}),
        ("oscarmax", {"gamma": 0.7, "lam": 0.05}),
        ("pnormmax", {"gamma": 0.7, "p": 1.5}),
        ("pnormmax", {"gamma": 2.0, "p": 1.8}),
        ("entmax15", {"gamma": 0.7}),
        ("entmax", {"gamma": 0.7, "alpha": 1.3}),
        ("normmax", {"gamma": 0.7, "alpha": 1.6}),
    ],
)
@pytest.mark.parametrize("d", [1, 2, 7, 16])
def test_jacobian_is_the_closed_form(mapping, strengths, d, measure):
    """Points near a kink are skipped, and few."""
    row, kinks = (measure(name, parts=4 * 8) for name in ("jacobian", "kinks"))
    outside = oracles.outside_certificates()
    x = points(row.n, d)
    y = getattr(regattn, mapping)(x, **strengths)
    rows = [torch.autograd.grad(y[:, i].sum(), x, retain_graph=True)[0] for i in range(d)]
    skipped = 0
    for scores, weights, jacobian in zip(
        x.detach().numpy(), y.detach().numpy(), torch.stack(rows, 1).numpy(), strict=True
    ):
        if mapping not in READ_OFF:
            options = {"lam": strengths["lam"]} if "lam" in strengths else {}
            if outside.strict_margin(mapping, scores, weights, strengths["gamma"], **options) < 1e-9:
                skipped += 1
                continue
        closed = oracles.jacobian(mapping, weights, **strengths)
        row.within(abs(jacobian - closed).max(), 1e-12 * max(1.0, abs(closed).max()), d=d)
    kinks.add(len(x), worst=skipped / (0.01 * len(x)), skipped=skipped)
    assert skipped < 0.01 * len(x)


@pytest.mark.parametrize(("mapping", "lam"), [("fusedmax", 0.1), ("oscarmax", 0.05), ("fusedmax", 0.0)])
def test_jacobian_is_that_of_the_partition_even_at_ties(mapping, lam):
    function = partial(getattr(regattn, mapping), lam=lam)
    x = torch.randint(-2, 3, (200, 6)).double()
    labels = groups(x, getattr(regattn, mapping), lam=lam)
    jacobians = torch.func.vmap(torch.func.jacrev(function))(x)
    for row, jacobian in zip(labels, jacobians, strict=True):
        expected = torch.from_numpy(reference.jacobian(row.numpy(), 1.0, True))
        torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("function", "x", "nudge"),
    [
        (regattn.sparsemax, [1.0, 0.0], -0.25),  # on the boundary of the support: the smaller support
        (partial(regattn.fusedmax, lam=0.25), [0.5, 0.0], 0.25),  # about to part: still joined
        (partial(regattn.oscarmax, lam=0.25), [0.5, 0.25], 0.25),
    ],
)
def test_the_element_that_is_taken_at_a_kink(function, x, nudge):
    """All three have J = 0; their neighbours, with more in the support or parted, have ±½."""
    x = torch.tensor(x, dtype=torch.float64)
    assert (torch.func.jacrev(function)(x) == 0).all()
    nudged = x + torch.tensor([nudge, 0.0], dtype=torch.float64)
    half = torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64)
    assert torch.equal(torch.func.jacrev(function)(nudged), half)


def test_tied_entries_are_pooled_by_isotonic_regression():
    x = torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)
    pooled = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert torch.equal(torch.func.jacrev(regattn.isotonic_regression)(x), pooled)


@pytest.mark.parametrize("name", sorted(MAPPINGS.keys() - {"oscarmax_published"}))  # which is no Π_Ω
def test_jacobian_is_symmetric_positive_and_blind_to_constants(name):
    function = MAPPINGS[name]
    jacobians = torch.func.vmap(torch.func.jacrev(function))(random_scores(100, 8))
    torch.testing.assert_close(jacobians, jacobians.mT, rtol=0, atol=1e-14)
    assert torch.linalg.eigvalsh(jacobians).min() >= -1e-14
    assert jacobians.sum(-1).abs().max() <= 1e-14
    assert jacobians.abs().mean() > 0.01


# ------------------------------------------------------------------ function transforms
@each_function
@pytest.mark.measures("vmap")
def test_vmap_is_the_loop(function):
    x = random_scores(4, 3, 6)
    for in_dim in range(2):
        mapped = torch.func.vmap(function, in_dims=in_dim)(x)
        loop = torch.stack([function(part) for part in x.unbind(in_dim)])
        assert torch.equal(mapped, loop)
    twice = torch.func.vmap(torch.func.vmap(function))(x)
    assert torch.equal(twice, function(x))
    inner = torch.func.vmap(lambda part: function(part, dim=0), in_dims=2, out_dims=2)(x.transpose(1, 2))
    assert torch.equal(inner, torch.stack([function(p, dim=0) for p in x.transpose(1, 2).unbind(2)], 2))


@each_mapping
@pytest.mark.measures("vmap")
def test_vmap_over_masks(function):
    x, masks = random_scores(5, 6), torch.rand(4, 5, 6) > 0.4
    mapped = torch.func.vmap(lambda mask: function(x, mask=mask))(masks)
    assert torch.equal(mapped, torch.stack([function(x, mask=mask) for mask in masks]))


@each_function
def test_forward_mode_is_reverse_mode(function):
    x, direction = random_scores(50, 6), random_scores(50, 6)
    value, tangent = torch.func.jvp(function, (x,), (direction,))
    _, pull_back = torch.func.vjp(function, x)
    assert torch.equal(value, function(x))
    if function is MAPPINGS["oscarmax_published"]:  # not symmetric
        other = random_scores(50, 6)
        torch.testing.assert_close((tangent * other).sum(), (pull_back(other)[0] * direction).sum())
    else:
        torch.testing.assert_close(tangent, pull_back(direction)[0], rtol=0, atol=1e-12)
    assert tangent.abs().max() > 0.1


@each_function
def test_jacobians_of_both_modes_agree(function):
    x = random_scores(6)
    torch.testing.assert_close(torch.func.jacfwd(function)(x), torch.func.jacrev(function)(x))


@each_function
def test_hessian(function):
    """Of ½‖f‖²: JᵀJ where J is piecewise constant."""
    x = random_scores(6)

    def half_square(v):
        return 0.5 * (function(v) ** 2).sum()

    hessian = torch.func.hessian(half_square)(x)
    with_autograd = torch.autograd.functional.hessian(half_square, x)
    torch.testing.assert_close(hessian, with_autograd)
    torch.testing.assert_close(torch.func.jacfwd(torch.func.jacfwd(half_square))(x), hessian)
    if function not in [MAPPINGS[name] for name in ("softmax", *READ_OFF)]:
        jacobian = torch.func.jacrev(function)(x)
        torch.testing.assert_close(hessian, jacobian.mT @ jacobian)


# ------------------------------------------------------------------ compiler, operators, autocast
@each_function
@pytest.mark.measures("compile")
def test_compiled_is_eager(function, fresh_compiler):
    x, direction = random_scores(2, 4, 6)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    (y, gradient), (traced, of_traced) = (weights_and_gradient(f, x, direction) for f in (function, compiled))
    assert torch.equal(y, traced)
    torch.testing.assert_close(gradient, of_traced, rtol=0, atol=1e-15)


@each_mapping
@pytest.mark.measures("compile")
def test_compiled_with_mask_is_eager(function, fresh_compiler):
    x, mask = points(4, 6), torch.rand(4, 6) > 0.3
    compiled = torch.compile(lambda s, m: function(s, mask=m), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, mask), function(x, mask=mask))


@pytest.mark.parametrize("mapping", SOLVED)
@pytest.mark.measures("compile")
def test_compiled_again_with_other_strengths(mapping, fresh_compiler):
    """The second value of a float makes the compiler treat it as a variable."""
    function, x = getattr(regattn, mapping), points(4, 6)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    *_, name = regattn.MAPPINGS[mapping].defaults
    for value in (1.2, 1.3, 1.9):
        assert torch.equal(compiled(x, **{name: value}), function(x, **{name: value}))


GAMMA, LAM, ALPHA = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.7, 0.1, 1.3))
OPERATORS = {
    "sparsemax": (GAMMA,),
    "fusedmax": (GAMMA, LAM),
    "oscarmax": (GAMMA, LAM),
    "prox_tv1d": (0.1,),
    "prox_oscar": (0.1,),
    "isotonic_regression": (True,),
    "pnormmax": (GAMMA, 1.5),
    "entmax15": (GAMMA,),
    "softmax": (GAMMA,),
    "entmax": (GAMMA, ALPHA),
    "normmax": (GAMMA, ALPHA),
    "budget": (GAMMA, 1.7),
}


OPCHECKS = (
    "test_schema",
    "test_autograd_registration",
    "test_faketensor",
    "test_aot_dispatch_static",
    "test_aot_dispatch_dynamic",
)


@pytest.mark.parametrize(
    ("name", "dtype", "masked"), pairwise(OPERATORS, [torch.float64, torch.bfloat16], [False, True])
)
@pytest.mark.measures("opcheck")
def test_opcheck(name, dtype, masked):
    x = torch.randn(3, 6, dtype=dtype, requires_grad=True)
    mask = torch.tensor([True, False, True, True, True, True]) if masked else None
    operator = getattr(torch.ops.regattn, name).default
    torch.library.opcheck(operator, (x, mask, *OPERATORS[name]), test_utils=OPCHECKS)


@pytest.mark.measures("opcheck")
def test_opcheck_of_the_derivative_and_that_none_is_forgotten():
    x = torch.randn(3, 6, dtype=torch.float64)
    _, structure = torch.ops.regattn.fusedmax(x, None, GAMMA.detach(), LAM.detach())
    average = torch.ops.regattn.group_average.default
    torch.library.opcheck(average, (points(3, 6), structure, 0.7, True), test_utils=OPCHECKS)
    solvers = [spec.solver for spec in regattn.MAPPINGS.values() if spec.solver is not None]
    slopes = {f"{solver.name}_slope" for solver in solvers if solver.penalty_slope is not None}
    for slope in slopes:
        operator, y = getattr(torch.ops.regattn, slope).default, torch.softmax(x, -1)
        for product in (None, points(3, 6).detach()):
            torch.library.opcheck(operator, (x, None, y, structure, product), test_utils=OPCHECKS)
    registered = {
        name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("regattn::")
    }
    assert registered == {*OPERATORS, "group_average", *slopes}


@each_function
def test_autocast(function):
    layer = torch.nn.Linear(6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = layer(torch.randn(4, 6))
        y = function(scores)
    assert scores.dtype == y.dtype == torch.bfloat16
    y.float().pow(2).sum().backward()
    assert layer.weight.grad.isfinite().all() and layer.weight.grad.abs().max() > 0


@each_function
def test_gradient_keeps_the_dtype(function):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x = torch.randn(4, 6).to(dtype).requires_grad_()
        function(x)[..., 0].sum().backward()
        assert x.grad.dtype == dtype and x.grad.isfinite().all()
