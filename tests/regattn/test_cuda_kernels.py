"""The Triton kernels: on the GPU where there is one, else in Triton's interpreter, and compiled for one.

The interpreter scans one element at a time in Python and in a sequence that no GPU takes. Here it scans
whole arrays pairwise instead, which is hundreds of times faster and rounds as a tree does. Nor does it
prepare Triton's language anew for each function that a kernel calls.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import regattn
from regattn import _autograd
from regattn._softmax import solve_softmax
from regattn.kernels import LONGEST_ON_CUDA, reference
from tests import oracles
from tests.mappings import ON_SIMPLEX, renumbered, weights_and_gradient
from tests.pairwise import pairwise

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
with pytest.MonkeyPatch.context() as patch:  # whether to interpret is decided when triton is imported
    if not ON_GPU:
        patch.setenv("TRITON_INTERPRET", "1")
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton, which is not installed")
    import triton.language as tl
    from triton.runtime.interpreter import (
        InterpretedFunction,
        InterpreterBuilder,
        TensorHandle,
        _get_np_dtype,
    )

    from regattn.kernels import cuda
    from regattn.kernels.cuda import (
        budget,
        entmax,
        fusedmax,
        groups,
        normmax,
        oscarmax,
        pnormmax,
        softmax,
        sparsemax,
    )

if not ON_GPU and not all(isinstance(f, InterpretedFunction) for f in (tl.sum, fusedmax.fusedmax_rows)):
    pytest.skip("triton was imported for a GPU before, and there is none", allow_module_level=True)

# tl.maximum and tl.minimum leave NaN out, as PTX does; before 3.8 the interpreter let it through.
InterpreterBuilder.create_maxnumf = lambda self, a, b: self.binary_op(a, b, np.fmax)
InterpreterBuilder.create_minnumf = lambda self, a, b: self.binary_op(a, b, np.fmin)
# Before 3.8 it had no ~ of unsigned integers with NumPy 2, which does not make -1 one of them.
InterpreterBuilder.get_all_ones_value = lambda self, kind: TensorHandle(
    ~np.zeros(1, _get_np_dtype(kind)), kind.scalar
)
own_call_of_a_function = InterpretedFunction.__call__
LENGTHS = [1, 2, 3, 7, 33, 100, 257]
STRENGTHS: dict[str, list[dict[str, float]]] = {
    "softmax": [{"gamma": 0.7}],
    "entmax15": [{"gamma": 0.7}],
    "entmax": [{"gamma": 0.7, "alpha": 1.3}, {"gamma": 0.7, "alpha": 2.0}],
    "normmax": [{"gamma": 0.7, "alpha": 1.3}, {"gamma": 0.3, "alpha": 1.9}],
    "budget": [{"gamma": 0.7, "k": 1.7}, {"gamma": 3.0, "k": 5.0}],
    "sparsemax": [{"gamma": 0.3}],
    "fusedmax": [{"gamma": 1.0, "lam": 0.1}, {"gamma": 0.3, "lam": 1.5}],
    "oscarmax": [{"gamma": 1.0, "lam": 0.01}, {"gamma": 0.3, "lam": 0.5}],
    "pnormmax": [{"gamma": 1.0, "p": 1.5}, {"gamma": 3.0, "p": 1.1}, {"gamma": 1.0, "p": 2.0}],
}
SOLVERS: dict[str, Callable[..., Any]] = {
    "softmax": softmax.softmax,
    "entmax15": entmax.entmax15,
    "entmax": entmax.entmax,
    "normmax": normmax.normmax,
    "budget": budget.budget,
    "sparsemax": sparsemax.sparsemax,
    "fusedmax": fusedmax.fusedmax,
    "oscarmax": oscarmax.oscarmax,
    "pnormmax": pnormmax.pnormmax,
}
PRODUCTS = {
    "softmax": softmax.product,
    "entmax15": entmax.product,
    "entmax": entmax.product,
    "normmax": normmax.product,
    "pnormmax": pnormmax.product,
}
FIRST = [(mapping, several[0]) for mapping, several in STRENGTHS.items()]
OTHERS = [(mapping, one) for mapping, several in STRENGTHS.items() for one in several[1:]]
DTYPES = [torch.float64, torch.float32]
CASES = [  # the interpreter is slow: the first strengths at all lengths, the others at two
    (*kind, d, dtype)
    for kind, d, dtype in (*pairwise(FIRST, LENGTHS, DTYPES), *pairwise(OTHERS, [3, 33], DTYPES))
]
each_mapping = pytest.mark.parametrize(("mapping", "strengths"), FIRST)


# ------------------------------------------------------------------ the interpreter, scanning pairwise
def combined(operator, a, b, types):
    """The combining function of a scan or reduction on whole arrays."""
    one, other = ([operator.to_tensor(x, t) for x, t in zip(side, types, strict=True)] for side in (a, b))
    result = operator.combine_fn.fn(*one, *other)
    return [
        np.broadcast_to(x.handle.data, a[0].shape) for x in (result if type(result) is tuple else (result,))
    ]


def pairwise_scan(self, inputs):
    types = [x.dtype for x in inputs]
    data = [np.moveaxis(x.handle.data, self.axis, 0) for x in inputs]
    reach = 1  # each element holds what came of so many
    while reach < len(data[0]):
        further = combined(self, [np.roll(a, reach, 0) for a in data], data, types)
        data = [np.concatenate((a[:reach], b[reach:])) for a, b in zip(data, further, strict=True)]
        reach *= 2
    return outputs(self, data, types, True)


def pairwise_reduction(self, inputs):
    types = [x.dtype for x in inputs]
    data = [np.moveaxis(x.handle.data, self.axis, 0) for x in inputs]
    while (half := len(data[0]) // 2) > 0:
        data = combined(self, [a[:half] for a in data], [a[half:] for a in data], types)
    return outputs(self, data if self.keep_dims else [a[0] for a in data], types, self.keep_dims)


def outputs(operator, data, types, same_rank):
    back = [np.moveaxis(a, 0, operator.axis) if same_rank else a for a in data]
    return [operator.to_tensor(np.ascontiguousarray(a), t) for a, t in zip(back, types, strict=True)]


def call_of_a_function(self, *arguments, **named):
    language = self.fn.__globals__.get("tl", tl.core)
    if tl.core.is_builtin(language.arange):  # which is replaced in a language that is prepared
        return own_call_of_a_function(self, *arguments, **named)
    return self.rewrite()(*arguments, **named)


@pytest.fixture(autouse=True)
def fast_interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not ON_GPU:
        from triton.runtime import interpreter

        monkeypatch.setenv("TRITON_INTERPRET", "1")
        monkeypatch.setattr(InterpretedFunction, "__call__", call_of_a_function)
        monkeypatch.setattr(interpreter.ScanOps, "generic_scan", pairwise_scan)
        monkeypatch.setattr(interpreter.ReduceOps, "generic_reduce", pairwise_reduction)
    yield


# ------------------------------------------------------------------ what is compared with what
def solve(mapping: str, x: torch.Tensor, mask: torch.Tensor | None = None, **strengths):
    found = SOLVERS[mapping](x, mask, *strengths.values())
    values, structure = found if isinstance(found, tuple) else (found, found)
    assert values.shape == x.shape
    assert structure.shape[:-1] == x.shape[:-1]
    assert values.dtype == x.dtype
    return values, structure


def product(mapping: str, direction: torch.Tensor, structure: torch.Tensor, **strengths) -> torch.Tensor:
    if mapping in PRODUCTS:
        return PRODUCTS[mapping](direction, structure, *strengths.values())
    return groups.group_average(direction, structure, 1 / strengths["gamma"], True)


def public(mapping: str, x: torch.Tensor, direction: torch.Tensor | None = None, mask=None, **strengths):
    """Weights of the library on the CPU in float64, and their derivative along a direction."""
    mask = None if mask is None else mask.cpu()
    x, direction = (t.cpu().double() for t in (x, x if direction is None else direction))
    return weights_and_gradient(getattr(regattn, mapping), x, direction, mask=mask, **strengths)


def unit(x: torch.Tensor, gamma: float = 1.0, lam: float = 0.0, **_: float) -> torch.Tensor:
    """The error that is allowed, row by row: eps of the type · max(1, spread/γ, λd), 8-fold or 64-fold."""
    finite = torch.where(x.isfinite(), x, torch.nan).double().cpu()
    spread = finite.nan_to_num(nan=-torch.inf).amax(-1) - finite.nan_to_num(nan=torch.inf).amin(-1)
    scale = (spread / gamma).clamp(min=max(1.0, lam * x.shape[-1]))
    return (64 if x.dtype == torch.float64 else 8) * torch.finfo(x.dtype).eps * scale


def assert_certified(mapping: str, x: torch.Tensor, y: torch.Tensor, **strengths) -> None:
    """Right within rounding by the public certificate, and near the CPU kernel's weights."""
    limit = unit(x, **strengths)
    x, y = x.cpu(), y.cpu()
    error = (y.double() - public(mapping, x, **strengths)[0]).abs().amax(-1)
    assert (error <= limit).all(), (error / limit).max()
    if y.dtype in (torch.float64, torch.float32):  # in half precision rounding parts the ties of weights
        violation = regattn.certify(x, y, getattr(regattn, mapping), **strengths)
        assert (violation <= limit).all(), (violation / limit).max()


def assert_rounded(y: torch.Tensor, exact: torch.Tensor) -> None:
    """Rounded once; the interpreter cuts bfloat16 off instead."""
    cut = y.dtype == torch.bfloat16 and not ON_GPU
    slack = torch.finfo(y.dtype).eps * exact.abs() if cut else 0.0
    assert ((y - exact.to(y.dtype)).abs().float() <= slack).all()


def assert_groups_are_those_of_the_weights(y: torch.Tensor, labels: torch.Tensor) -> None:
    together = (labels.unsqueeze(-1) == labels.unsqueeze(-2)) & (labels > 0).unsqueeze(-1)
    assert ((labels > 0) == (y > 0)).all()
    assert ((y.unsqueeze(-1) == y.unsqueeze(-2)) | ~together).all()


pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's, on purpose overflowing


def scores(d: int, dtype: torch.dtype = torch.float64, n: int = 1, seed: int = 0) -> torch.Tensor:
    """``n`` rows of every kind."""
    rng = np.random.default_rng((d, seed))
    return torch.from_numpy(np.concatenate([kind(rng, n, d) for kind in oracles.KINDS])).to(DEVICE, dtype)


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64).to(DEVICE, dtype)


# ------------------------------------------------------------------ values and products
counts_on_a_gpu = pytest.mark.measures("gpu") if ON_GPU else lambda test: test


@counts_on_a_gpu
@pytest.mark.parametrize(("mapping", "strengths", "d", "dtype"), CASES)
def test_right_within_rounding(mapping, strengths, d, dtype):
    x = scores(d, dtype)
    y, structure = solve(mapping, x, **strengths)
    assert_certified(mapping, x, y, **strengths)
    if not structure.is_floating_point():
        assert_groups_are_those_of_the_weights(y, groups.labels(structure))

    smooth = x[:2]  # elsewhere two derivatives may be right
    direction = normal(*smooth.shape, dtype=dtype)
    ours = product(mapping, direction, structure[:2], **strengths)
    _, theirs = public(mapping, smooth, direction, **strengths)
    scale = 4 if mapping in PRODUCTS else 1  # whose derivative is not bounded by 1/γ
    limit = scale * unit(smooth, **strengths).unsqueeze(-1) * max(1, 1 / strengths["gamma"])
    assert ((ours.cpu() - theirs).abs() <= limit).all(), ((ours.cpu() - theirs).abs() / limit).max()


@pytest.mark.parametrize(("first", "d", "dtype"), pairwise(FIRST, [3, 33], [torch.bfloat16, torch.float16]))
def test_half_precision_is_that_of_float32_rounded_once(first, d, dtype):
    mapping, strengths = first
    x = scores(d, dtype)
    y, structure = solve(mapping, x, **strengths)
    exact, same_structure = solve(mapping, x.float(), **strengths)
    assert_rounded(y, exact)
    if mapping != "oscarmax" and not structure.is_floating_point():  # which may list ties differently
        assert (groups.whole(structure) == groups.whole(same_structure)).all()
    direction = normal(*x.shape, dtype=dtype)
    ours = product(mapping, direction, structure, **strengths)
    exact = product(mapping, direction.float(), structure, **strengths)
    assert ours.dtype == dtype
    assert_rounded(ours, exact)
    assert_certified(mapping, x, y, **strengths)


@pytest.mark.parametrize("mapping", ["fusedmax", "oscarmax"])
def test_structure_is_that_of_the_reference(mapping):
    x = scores(33, n=4)[:8]  # normal and heavy-tailed: elsewhere two partitions may be right
    parameters = (0.7, 0.05)
    x[1::2, ::5] = -torch.inf
    y, structure = SOLVERS[mapping](x, None, *parameters)
    rows = [getattr(reference, mapping)(row, *parameters) for row in x.cpu().numpy()]
    np.testing.assert_allclose(y.cpu(), np.stack([row[0] for row in rows]), rtol=0, atol=1e-14)
    labels = groups.labels(structure)
    assert [*map(renumbered, labels)] == [renumbered(row[1]) for row in rows]


@pytest.mark.parametrize("lam", [0.0, 0.125, 2.0])
@pytest.mark.parametrize("mapping", ["sparsemax", "fusedmax", "oscarmax"])
def test_exact_on_small_integer_vectors(mapping, lam):
    """Every tie and every boundary there is in three dimensions, in float32."""
    vectors = oracles.integer_vectors(3)
    exact, one = oracles.exact_solutions(
        mapping, vectors * 24, 0 if mapping == "sparsemax" else int(lam * 24), 24
    )
    x = torch.from_numpy(vectors).to(DEVICE, torch.float32)
    y, structure = solve(mapping, x, gamma=1.0, **({} if mapping == "sparsemax" else {"lam": lam}))
    y = y.cpu().double().numpy()
    assert np.abs(y - exact / one).max() <= np.finfo(np.float32).eps
    assert ((y > 0) == (exact > 0)).all()
    assert ((np.diff(y) == 0) == (np.diff(exact) == 0)).all()
    if mapping != "sparsemax" and lam > 0:  # neighbours that are tied are one group
        labels = np.diff(groups.labels(structure).cpu().numpy())
        assert ((labels == 0) == (np.diff(exact) == 0)).all()


@each_mapping
def test_scores_of_every_size(mapping, strengths):
    x = torch.cat([scores(33, torch.float32) * scale for scale in (1e-6, 1e-3, 1e3, 1e6)])
    assert_certified(mapping, x, solve(mapping, x, **strengths)[0], **strengths)
    huge = normal(3, 7, dtype=torch.float32) * 1e38
    y = solve(mapping, huge, **strengths)[0]
    if mapping in ON_SIMPLEX:
        assert (y == torch.nn.functional.one_hot(huge.argmax(-1), 7)).all()


@pytest.mark.parametrize("lam", [0.0, 1e-4, 0.1, 1e4])
@pytest.mark.parametrize("mapping", ["fusedmax", "oscarmax"])
def test_adversarial_rows(mapping, lam):
    x = torch.from_numpy(np.stack(list(oracles.adversarial(120).values()))).to(DEVICE, torch.float32)
    y, structure = solve(mapping, x, gamma=1.0, lam=lam)
    assert_certified(mapping, x, y, gamma=1.0, lam=lam)
    assert (y.double().sum(-1) - 1).abs().max() <= 64 * torch.finfo(torch.float32).eps
    if lam == 1e4:  # rounding must not part what belongs together
        assert (groups.labels(structure) == 1).all()


@pytest.mark.parametrize("mapping", ["fusedmax", "oscarmax"])
def test_a_long_row(mapping):
    x = normal(1, 8192, dtype=torch.float32) / 10
    lam = {"fusedmax": 0.1, "oscarmax": 1e-4}[mapping]
    y, structure = solve(mapping, x, gamma=1.0, lam=lam)
    direction = normal(1, 8192)
    expected, theirs = public(mapping, x, direction, gamma=1.0, lam=lam)
    assert (y.cpu().double() - expected).abs().max() <= unit(x, 1.0, lam)
    assert (y > 0).sum() > 20, "too few are left: the row says nothing"
    ours = groups.group_average(direction, structure, 1.0, True)
    torch.testing.assert_close(ours.cpu(), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mapping", ["fusedmax", "oscarmax"])
def test_lambda_0_is_sparsemax_ties_included(mapping):
    x, direction = scores(7), normal(len(oracles.KINDS), 7)
    y, structure = solve(mapping, x, gamma=1.0, lam=0.0)
    expected, singles = solve("sparsemax", x, gamma=1.0)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-15)
    ours, theirs = (groups.group_average(direction, s, 1.0, True) for s in (structure, singles))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("dtype", "bits"),
    [(torch.float64, 44), (torch.float64, 21), (torch.float32, 23), (torch.bfloat16, 7), (torch.float16, 10)],
)
def test_scores_are_sorted_by_all_their_bits(dtype, bits, sign):
    """Neighbours in the order differ in the last bits of either half, and λ is too small to tie them."""
    order = torch.randperm(33)
    x = sign * (1 + order.double() / 2**bits).to(DEVICE, dtype)
    labels = groups.labels(oscarmax.oscarmax(x, None, 64.0, 2.0 ** (-bits - 16))[1])
    assert (labels.cpu() == (33 - order if sign > 0 else order + 1)).all()


def test_group_average_with_a_scale_per_row():
    x, direction = scores(33), normal(len(oracles.KINDS), 33)
    _, structure = solve("fusedmax", x, gamma=1.0, lam=0.1)
    labels = groups.labels(structure).cpu()
    scale = torch.rand(len(x), 1, dtype=torch.float64)
    ours = groups.group_average(direction, structure, scale.to(DEVICE), True).cpu()
    jacobians = [
        reference.jacobian(row.numpy(), float(s), True) for row, s in zip(labels, scale, strict=True)
    ]
    theirs = torch.stack([torch.from_numpy(j) @ g for j, g in zip(jacobians, direction.cpu(), strict=True)])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


# ------------------------------------------------------------------ masks and what may not matter
def masks(d: int) -> torch.Tensor:
    """Prefix, suffix, holes, one left, nothing left, everything."""
    at = torch.arange(d)
    several = [at < d // 2 + 1, at >= d // 3, at % 3 != 1, at == d - 1, at < 0, at >= 0]
    return torch.stack(several).to(DEVICE)


@each_mapping
def test_masked_is_removed(mapping, strengths):
    for d, under in ((3, torch.nan), (3, 1e30), (33, torch.inf), (33, -torch.inf)):
        mask = masks(d)
        x, direction = normal(2, len(mask), d)
        expected, expected_product = public(mapping, x, direction, mask, **strengths)
        x, dirty = x.masked_fill(~mask, under), direction.masked_fill(~mask, under)
        y, structure = solve(mapping, x, mask, **strengths)
        torch.testing.assert_close(y.cpu(), expected, rtol=0, atol=1e-14)
        ours = product(mapping, dirty, structure, **strengths)
        torch.testing.assert_close(ours.cpu(), expected_product, rtol=0, atol=1e-13)
        assert (y[~mask] == 0).all()
        if under == -torch.inf:  # without a mask, the same bits
            assert (solve(mapping, x, **strengths)[0] == y).all()


@each_mapping
def test_an_invalid_row_is_nan_and_alone(mapping, strengths):
    x, direction = normal(5, 7), normal(5, 7)
    clean, found = solve(mapping, x, **strengths)
    expected = product(mapping, direction, found, **strengths)
    x[2, 3], x[3, 0] = torch.nan, torch.inf
    y, structure = solve(mapping, x, **strengths)
    ours = product(mapping, direction, structure, **strengths)
    others, invalid = [0, 1, 4], [2, 3]
    assert y[invalid].isnan().all() and ours[invalid].isnan().all()
    assert (y[others] == clean[others]).all() and (ours[others] == expected[others]).all()
    if not structure.is_floating_point():
        assert (groups.labels(structure)[invalid] == -1).all()


@each_mapping
def test_bad_strengths_make_their_rows_nan(mapping, strengths):
    bad = {"gamma": (0.0, -1.0, torch.nan, torch.inf), "lam": (-0.1, torch.nan, torch.inf)}
    for which, several in bad.items():
        if which in strengths:
            x = normal(len(several) + 1, 7)
            each = torch.tensor([*several, strengths[which]], dtype=torch.float64, device=DEVICE).unsqueeze(1)
            y, structure = solve(mapping, x, **{**strengths, which: each})
            assert y[:-1].isnan().all()
            assert (y[-1] == solve(mapping, x[-1:], **strengths)[0]).all()
            if not structure.is_floating_point():
                ours = groups.group_average(normal(*x.shape), structure, 1.0, True)
                assert ours[:-1].isnan().all() and ours[-1].isfinite().all()


def test_a_strength_on_the_host_is_a_number_to_the_kernel():
    """Nothing is copied, which the capture of a CUDA graph would refuse."""
    elsewhere = torch.empty(2, 5, device="meta")
    assert cuda._readable(torch.tensor(0.5), elsewhere, False) == 0.5


@pytest.mark.parametrize("name", ["prox_tv1d", "prox_oscar", "isotonic_regression"])
def test_what_has_no_kernel_is_refused_while_code_is_compiled(name):
    with FakeTensorMode(), pytest.raises(ValueError, match=f"{name} has no kernel for tensors on cuda"):
        x = torch.empty(2, 5, device="cuda")
        getattr(torch.ops.regattn, name)(x, None, name == "isotonic_regression" or 0.1)


@each_mapping
def test_a_row_does_not_depend_on_its_neighbours(mapping, strengths):
    x = scores(7, torch.float32)
    together = solve(mapping, x, **strengths)[0]
    alone = torch.cat([solve(mapping, row, **strengths)[0].unsqueeze(0) for row in x])
    assert (together == alone).all()


# ------------------------------------------------------------------ shapes and strides
VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "vector": lambda x: x[0, 0, 0],
    "matrix": lambda x: x[0, 0],
    "transposed": lambda x: x[0, 0].T,
    "sliced": lambda x: x[0, :, 1:, ::2],
    "expanded": lambda x: x[0, 0, :1].expand(4, 7),
    "constant": lambda x: x[0, 0, :, :1].expand(4, 7),
    "four dimensions": lambda x: x.permute(2, 0, 1, 3),
    "not to be collapsed": lambda x: x[:, ::2, 1:3, 1:].transpose(0, 2),
    "last dimension first": lambda x: x.permute(3, 1, 0, 2),
    "no rows": lambda x: x[:, :0],
}


@each_mapping
def test_strides_are_followed(mapping, strengths, monkeypatch):
    read, launch = [], cuda._launch
    monkeypatch.setattr(cuda, "_launch", lambda *all: (read.append(all[2][0]), launch(*all)))
    for view in VIEWS.values():
        x, direction = view(normal(2, 3, 4, 7)), view(normal(2, 3, 4, 7))
        mask = view(torch.rand(2, 3, 4, 7, device=DEVICE) > 0.3)
        expected, found = solve(mapping, x.contiguous(), mask.contiguous(), **strengths)
        expected_product = product(mapping, direction.contiguous(), found, **strengths)
        read.clear()
        y, structure = solve(mapping, x, mask, **strengths)
        ours = product(mapping, direction, structure, **strengths)
        assert y.is_contiguous() and ours.is_contiguous()
        assert (y == expected).all() and (ours == expected_product).all()
        if x.numel():
            *forward, backward = read
            assert len(forward) == (2 if mapping == "fusedmax" else 1), "more launches than there must be"
            places = [(each[0].data_ptr(), each[1].data_ptr()) for each in forward]
            assert {*places} == {(x.data_ptr(), mask.data_ptr())}, "something was copied"
            assert backward[0].data_ptr() == direction.data_ptr()


@each_mapping
def test_a_row_past_the_longest_is_refused(mapping, strengths):
    x = torch.zeros(2, LONGEST_ON_CUDA + 1, device=DEVICE)
    with pytest.raises(ValueError, match="rows of scores on CUDA must have at most 8192 positions, got 8193"):
        SOLVERS[mapping](x, None, *strengths.values())


@pytest.mark.parametrize("mapping", ["sparsemax", "entmax15", "softmax"])
def test_compiled_code_refuses_such_a_row_when_traced(mapping):
    operator = getattr(torch.ops.regattn, mapping)
    with FakeTensorMode():
        gamma = torch.ones((), dtype=torch.float64)
        x = torch.empty(2, LONGEST_ON_CUDA + 1, device="cuda")
        with pytest.raises(ValueError, match="at most 8192 positions, got 8193"):
            operator(x, None, gamma)


def test_more_leading_dimensions_than_a_kernel_takes_are_copied():
    x = normal(2, 3, 2, 3, 5)[:, ::2].transpose(0, 2)[..., ::2, :]
    gamma = torch.rand(2, 1, 1, 1, 1, dtype=torch.float64).to(DEVICE) + 0.5
    y, _ = fusedmax.fusedmax(x, None, gamma, 0.1)
    expected = torch.stack(
        [fusedmax.fusedmax(a.contiguous(), None, float(g), 0.1)[0] for a, g in zip(x, gamma, strict=True)]
    )
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-14)


def at_row(strength: torch.Tensor | float, at: tuple[int, ...]) -> float:
    return float(strength.expand(2, 3, 2, 1)[at]) if isinstance(strength, torch.Tensor) else strength


@each_mapping
def test_strengths_of_each_row(mapping, strengths):
    """Each strength is given by tensors that broadcast to the rows, and says the same as numbers."""
    for shape in ((2, 1), (3, 1, 1), (1, 1, 1), (2, 3, 2, 1), (1,), ()):
        x, direction = normal(2, 2, 3, 2, 7)
        mask = torch.rand(2, 1, 1, 7) > 0.2
        each = {**strengths, "gamma": torch.rand(shape, dtype=torch.float64) + 0.5}
        if "lam" in each:
            each["lam"] = torch.rand(shape).double() / 4
        on_device = {k: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for k, v in each.items()}
        y, structure = solve(mapping, x, mask.to(DEVICE), **on_device)
        ours = product(mapping, direction, structure, **on_device)
        for at in np.ndindex(2, 3, 2):
            row = {k: at_row(v, at) for k, v in each.items()}
            weights, slopes = public(mapping, x[at], direction[at], mask.expand_as(x)[at], **row)
            torch.testing.assert_close(y[at].cpu(), weights, rtol=0, atol=1e-14)
            torch.testing.assert_close(ours[at].cpu(), slopes, rtol=0, atol=1e-12)


# ------------------------------------------------------------------ how many forms of a kernel are compiled
TRAININGS: dict[str, Callable[[random.Random], tuple[tuple[int, ...], bool]]] = {
    "one target a step": lambda r: ((64, 1, r.randint(5, 60)), True),
    "teacher forcing": lambda r: ((r.randint(17, 64), r.randint(5, 120), r.randint(5, 120)), True),
    "Transformer": lambda r: ((r.randint(8, 64), 8, r.randint(16, 512), r.randint(16, 512)), True),
    "decoding": lambda r: ((1, 8, 1, r.randint(1, 2048)), False),
}


@pytest.mark.parametrize("training", TRAININGS)
def test_a_training_compiles_few_forms(training, monkeypatch):
    """Three of a kernel at most, however lengths and batches vary."""
    forms: dict[Any, set[Any]] = {}

    def record(kernel, grid, arguments, constants):
        forms.setdefault((mapping, kernel), set()).add(cuda.form_key(kernel, arguments, constants))

    monkeypatch.setattr(cuda, "_launch", record)
    chance = random.Random(0)
    for _ in range(200):
        shape, masked = TRAININGS[training](chance)
        x = torch.empty(shape, device="meta")
        mask = torch.empty((shape[0], *[1] * (len(shape) - 2), shape[-1]), dtype=torch.bool, device="meta")
        for mapping in SOLVERS:
            y, found = solve(mapping, x, mask if masked else None, **STRENGTHS[mapping][0])
            product(mapping, y, found, **STRENGTHS[mapping][0])
    assert len(forms) == 2 * len(SOLVERS) + 1  # of fusedmax three
    assert max(map(len, forms.values())) <= 3


# ------------------------------------------------------------------ from a public function to a kernel
def softmax_by_its_kernel(x, dim=-1, *, gamma, mask=None):
    return _autograd.solve_along(solve_softmax, x, dim, mask, gamma)


@pytest.mark.parametrize("mapping", SOLVERS)
def test_public_functions_reach_these_kernels(mapping, monkeypatch):
    """Forward, backward and second order, masks and learnable strengths: as on the CPU."""
    function = softmax_by_its_kernel if mapping == "softmax" and not ON_GPU else getattr(regattn, mapping)
    x = normal(2, 3, 9).cpu()
    mask = torch.rand(3, 9) > 0.3
    strengths = {"gamma": torch.tensor([[[0.7]], [[1.5]]], dtype=torch.float64)}
    if mapping in ("fusedmax", "oscarmax"):
        strengths["lam"] = torch.tensor([[0.05], [0.1], [0.2]], dtype=torch.float64)
    if mapping in ("entmax", "normmax"):
        strengths["alpha"] = torch.tensor([[1.2], [1.3], [1.7]], dtype=torch.float64)

    def derivatives(device: str) -> list[torch.Tensor]:
        inputs = [t.to(device).requires_grad_() for t in (x, *strengths.values())]
        learnt = dict(zip(strengths, inputs[1:], strict=True))
        y = function(inputs[0], mask=mask.to(device), **learnt)
        once = torch.autograd.grad((y * y).sum(), inputs, retain_graph=True)
        first = torch.autograd.grad((y * y).sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum((f * f).sum() for f in first), inputs)
        plain = function(x.to(device), 1, gamma=0.5)
        return [t.cpu() for t in (y, *once, *first, *second, plain)]

    theirs = derivatives("cpu")
    if not ON_GPU:
        load = _autograd.load_kernel
        monkeypatch.setattr(_autograd, "load_kernel", lambda _, *name: load("cuda", *name))
    for one, other in zip(derivatives(DEVICE), theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


# ------------------------------------------------------------------ compiled for a GPU that is not there
COMPILE = """
import sys, torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

class NoGPU:
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))

driver.set_active(NoGPU())
from regattn.kernels import cuda
from regattn.kernels.cuda import budget, entmax, fusedmax, groups, normmax, oscarmax
from regattn.kernels.cuda import pnormmax, softmax, sparsemax

def compile_only(kernel, grid, arguments, options):
    compiled = cuda.compile_kernel(kernel, arguments, options)
    assert ".target sm_90" in compiled.asm["ptx"], kernel
    print(kernel.__name__)

cuda._launch = compile_only
each = torch.ones(4, 1)
for d, dtype, strength in ((33, torch.float32, 1.0), (120, torch.bfloat16, each), (120, torch.float64, 1.0)):
    x, mask = torch.zeros(4, d, dtype=dtype), torch.ones(1, d, dtype=torch.bool)
    y, structure = oscarmax.oscarmax(x, mask, strength, strength)
    oscarmax.penalty_slope(x, mask, y, structure, x)
    if dtype == torch.float64:  # of which only the sort is written anew
        continue
    y, structure = fusedmax.fusedmax(x.T.contiguous().T, None, strength, strength)
    fusedmax.penalty_slope(x, mask, y, structure, None)
    groups.group_average(x, structure, strength, True)
    groups.group_average(x, sparsemax.sparsemax(x, mask, strength), strength, True)
    softmax.product(x, softmax.softmax(x, mask, strength), strength)
    entmax.product(x, entmax.entmax15(x, mask, strength), strength)
    groups.group_average(x, budget.budget(x, mask, strength, 2.0)[1], strength, True)
    for module in (entmax.entmax, entmax.product), (normmax.normmax, normmax.product):
        module[1](x, module[0](x, mask, strength, 1.3), strength, 1.3)
    for p in (2.0, 1.2, 1.5):
        y = pnormmax.pnormmax(x, mask, strength, p)
    pnormmax.product(x, y, strength, 1.5)
"""


def test_every_kernel_compiles_for_a_gpu(pytestconfig, tmp_path):
    """Down to PTX and machine code; the interpreter accepts much that the compiler does not.

    What triton has compiled before, of the same source, options and compiler, it finds again.
    """
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    cache = getattr(pytestconfig, "cache", None)
    compiled = cache.mkdir("triton") if cache else tmp_path
    environment |= {"TRITON_CACHE_DIR": str(compiled), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    names = {"softmax", "sparsemax", "fusedmax", "remaining", "oscarmax", "entmax15", "pnormmax"}
    names |= {"entmax", "normmax", "budget"}
    names |= {"group_average", "centre", "product", "penalty_slope"}
    assert set(done.stdout.split()) == {f"{name}_rows" for name in names}
