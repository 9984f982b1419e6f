"""Losses of classes and of weights: one value by every road, and cross_entropy's arguments."""

from __future__ import annotations

from functools import partial

import entmax
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import cross_entropy, one_hot

import regattn
from regattn import fenchel_young_loss
from tests.mappings import CASES, FUNCTIONS, ON_SIMPLEX, random_scores, same_bits

NAMED = {
    "sparsemax": (regattn.sparsemax_loss, regattn.SparsemaxLoss, {}),
    "entmax15": (regattn.entmax15_loss, regattn.Entmax15Loss, {}),
    "entmax": (regattn.entmax_loss, regattn.EntmaxLoss, {"alpha": 1.3}),
    "normmax": (regattn.normmax_loss, regattn.NormmaxLoss, {"alpha": 1.7}),
}
each_named = pytest.mark.parametrize("name", NAMED)
each_case = pytest.mark.parametrize(("name", "strengths"), [case for case in CASES if case[0] in ON_SIMPLEX])


def drawn(n: int = 40, d: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    return random_scores(n, d), torch.randint(d, (n,))


@each_case
def test_a_class_is_the_weight_1_on_it(name, strengths):
    x, classes = drawn()
    found = []
    for target in (classes, one_hot(classes, 9).double()):
        scores = x.clone().requires_grad_()
        losses = fenchel_young_loss(scores, target, FUNCTIONS[name], **strengths)
        found.append((losses.detach(), *torch.autograd.grad((losses * x[:, 0]).sum(), scores)))
    torch.testing.assert_close(*found, rtol=0, atol=1e-14)


@each_case
def test_compiled_losses_are_the_eager_ones(name, strengths, fresh_compiler):
    if torch.__version__.startswith("2.6."):
        pytest.skip("the compiler of torch 2.6 cannot read a function's defaults")
    x, classes = drawn()
    loss = partial(fenchel_young_loss, target=classes, mapping=FUNCTIONS[name], **strengths)
    found = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        scores = x.clone().requires_grad_()
        losses = function(scores)
        found.append((losses.detach(), *torch.autograd.grad((losses * x[:, 0]).sum(), scores)))
    torch.testing.assert_close(*found, rtol=0, atol=1e-14)


@each_named
def test_named_losses_are_fenchel_young_losses(name):
    function, module, strengths = NAMED[name]
    x, classes = drawn()
    for gamma in (1.0, 0.4):
        rows = fenchel_young_loss(x, classes, FUNCTIONS[name], gamma=gamma, **strengths)
        assert (rows >= 0).all() and rows.max() > 0.1
        for reduction, expected in (("none", rows), ("sum", rows.sum()), ("mean", rows.mean())):
            got = function(x, classes, reduction=reduction, gamma=gamma, **strengths)
            torch.testing.assert_close(got, expected)
            remembered = module(reduction=reduction, gamma=gamma, **strengths)
            assert same_bits(remembered(x, classes), got)


@pytest.mark.parametrize(
    ("name", "theirs", "strengths"),
    [
        ("sparsemax", entmax.sparsemax_loss, {}),
        ("entmax15", entmax.entmax15_loss, {}),
        ("entmax", partial(entmax.entmax_bisect_loss, alpha=1.3), {"alpha": 1.3}),
        ("normmax", partial(entmax.normmax_bisect_loss, alpha=1.7), {"alpha": 1.7}),
    ],
)
def test_losses_are_those_of_entmax(name, theirs, strengths):
    x, classes = drawn(200, 30)
    found = []
    for loss in (partial(NAMED[name][0], reduction="none", **strengths), theirs):
        scores = x.clone().requires_grad_()
        losses = loss(scores, classes)
        found.append((losses.detach(), *torch.autograd.grad(losses.sum(), scores)))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)


def test_softmax_loss_takes_the_arguments_of_cross_entropy():
    loss = regattn.FenchelYoungLoss(regattn.softmax)
    for shape in ((6,), (5, 6), (5, 6, 3), (2, 6, 3, 4)):
        x = random_scores(*shape)
        at = min(1, x.ndim - 1)
        classes = torch.randint(6, x.select(at, 0).shape)
        if classes.ndim:
            classes.view(-1)[::3] = 2
        weight = torch.rand(6, dtype=torch.float64)
        for ignored in (-100, 2):
            for reduction in ("none", "mean", "sum"):
                for factors in (None, weight):
                    if classes.ndim == 0 and int(classes) == ignored:
                        continue
                    options = {"ignore_index": ignored, "reduction": reduction}
                    loss = regattn.FenchelYoungLoss(regattn.softmax, factors, **options)
                    expected = cross_entropy(x, classes, factors, **options)
                    torch.testing.assert_close(loss(x, classes), expected)


@each_named
def test_ignored_rows_have_no_loss_and_no_gradient(name):
    function, _, strengths = NAMED[name]
    x, classes = drawn()
    classes[::4] = -100
    x[0] = torch.nan
    scores = x.requires_grad_()
    losses = function(scores, classes, reduction="none", **strengths)
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    assert (losses[::4] == 0).all() and (gradient[::4] == 0).all()
    kept = classes != -100
    mean = function(x.detach()[kept], classes[kept], **strengths)
    torch.testing.assert_close(function(x.detach(), classes, **strengths), mean)


@each_case
def test_a_row_without_anything_left_has_loss_and_gradient_0(name, strengths):
    x, classes = drawn()
    mask = torch.ones(40, 9, dtype=torch.bool)
    mask[3] = False
    hidden = x.masked_fill(~mask, -torch.inf)
    target = one_hot(classes, 9).double().masked_fill(~mask, 0.0)
    for scores, options in ((x, {"mask": mask}), (hidden, {})):
        for wanted in (classes, target):
            leaf = scores.clone().requires_grad_()
            losses = fenchel_young_loss(leaf, wanted, FUNCTIONS[name], **options, **strengths)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
            assert losses[3] == 0 and (gradient[3] == 0).all()
            assert losses.isfinite().all() and gradient.isfinite().all()


@each_named
def test_derivatives_of_both_orders(name):
    function, _, strengths = NAMED[name]
    x, classes = drawn(4, 5)
    loss = partial(function, target=classes, reduction="none", **strengths)
    assert gradcheck(loss, x.requires_grad_(), check_batched_grad=True)
    assert gradgradcheck(loss, x)
    mapping = partial(FUNCTIONS[name], **strengths)
    hessian = torch.autograd.functional.hessian(lambda row: loss(row[None], target=classes[:1])[0], x[0])
    torch.testing.assert_close(hessian, torch.func.jacrev(mapping)(x[0].detach()))


@each_named
def test_half_precision_and_many_classes(name):
    function, _, strengths = NAMED[name]
    x, classes = torch.randn(3, 20_000), torch.tensor([5, 19_999, 0])
    right = function(x.double(), classes, reduction="none", **strengths)
    for dtype in (torch.float32, torch.bfloat16):
        scores = x.clone().to(dtype).requires_grad_()
        losses = function(scores, classes, reduction="none", **strengths)
        assert losses.dtype == dtype
        torch.testing.assert_close(losses.double(), right, rtol=16 * torch.finfo(dtype).eps, atol=0)
        losses.sum().backward()
        weights = FUNCTIONS[name](x.to(dtype).float(), **strengths)
        expected = weights - one_hot(classes, 20_000)
        torch.testing.assert_close(scores.grad.float(), expected, rtol=0, atol=4 * torch.finfo(dtype).eps)


def test_refusals():
    x, classes = drawn()
    for target, match in (
        (classes.int(), r"or int64 class indices of shape \(40,\), got torch.int32 of shape \(40,\)"),
        (classes[:3], r"class indices of shape \(40,\), got torch.int64 of shape \(3,\)"),
        (classes + 5, "from 0 to 8 or ignore_index, got 1"),
        (classes - 9, "from 0 to 8 or ignore_index, got -"),
        (x[:3], r"shape of scores \(40, 9\), got \(3, 9\)"),
    ):
        with pytest.raises(ValueError, match=match):
            regattn.sparsemax_loss(x, target)
    with pytest.raises(
        ValueError, match="must be weights for budget, whose total is not 1, got class indices"
    ):
        fenchel_young_loss(x, classes, regattn.budget)
    with pytest.raises(ValueError, match="reduction must be one of none, mean, sum, got 'total'"):
        regattn.sparsemax_loss(x, classes, reduction="total")
    with pytest.raises(ValueError, match=r"weight must have shape \(9,\), got \(3,\)"):
        regattn.sparsemax_loss(x, classes, x[0, :3])
    with pytest.raises(ValueError, match=r"alpha must be finite and at least 1, got 0\.5"):
        regattn.entmax_loss(x, classes, alpha=0.5)
