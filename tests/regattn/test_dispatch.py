"""Threads, processes, and the dispatch paths to a solver: the same bits by each, and nothing else touched."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.mappings import APPLIED, BLOCKS, READ_OFF, SOLVED, agree, same_bits, weights_and_gradient

MAPPINGS = {name: APPLIED[name] for name in SOLVED}
SOLVERS = MAPPINGS | BLOCKS
EVERY = APPLIED | BLOCKS
each_mapping = pytest.mark.parametrize("name", MAPPINGS)
each_solver = pytest.mark.parametrize("name", SOLVERS)


def assert_equal(got: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    assert all(same_bits(a, b) for a, b in zip(got, expected, strict=True))


# ------------------------------------------------------------------ threads and processes
@pytest.mark.parametrize("name", EVERY)
def test_any_number_of_threads_gives_the_bits_of_one(name, threads):
    for shape in ((2, 3, 500, 70), (3, 65536)):
        function, (x, direction) = EVERY[name], torch.randn(2, *shape).unbind()
        options = {} if name in BLOCKS else {"mask": torch.rand(shape) > 0.3}
        threads(1)
        alone = weights_and_gradient(function, x, direction, **options)
        for count in (2, 3):
            threads(count)
            together = weights_and_gradient(function, x, direction, **options)
            assert all(agree(function.func, a, b) for a, b in zip(together, alone, strict=True))


@each_mapping
def test_strengths_of_each_row_find_their_rows_in_every_thread(name, threads):
    x = torch.randn(3001, 70)
    strengths = {"gamma": 0.3 + torch.rand(3001, 1)}
    if "lam" in MAPPINGS[name].keywords:
        strengths["lam"] = 0.1 * torch.rand(3001, 1)
    function = MAPPINGS[name].func
    alone = weights_and_gradient(function, x, x.flip(0), **strengths)
    threads(3)
    assert_equal(weights_and_gradient(function, x, x.flip(0), **strengths), alone)


def sums(x: Tensor) -> list[float]:
    """By numpy: torch's own threads do not survive a fork."""
    return [float(function(x).numpy().astype("float64").sum()) for function in MAPPINGS.values()]


def _in_child(queue: Any, x: Tensor, counts: tuple[int, ...]) -> None:
    for count in counts:
        torch.set_num_threads(count)
        queue.put(sums(x))


def test_forked_children_answer_while_the_parent_has_threads(threads):
    """Twice, each with another number of threads than the parent had."""
    x = torch.randn(3001, 70)
    threads(2)
    expected = sums(x)
    context = multiprocessing.get_context("fork")
    children = []
    for counts in ((2,), (3, 1)):
        queue = context.SimpleQueue()
        child = context.Process(target=_in_child, args=(queue, x, counts), daemon=True)
        child.start()
        children.append((child, queue, counts))
    assert sums(x) == expected
    for child, queue, counts in children:
        child.join(timeout=600)
        if child.is_alive():
            child.kill()
        assert child.exitcode == 0, "the child hangs or crashed"
        assert [queue.get() for _ in counts] == [expected] * len(counts)


@pytest.mark.parametrize("count", [1, 3])
def test_several_python_threads_at_once(count, threads):
    threads(count)
    inputs = [torch.randn(1501, 70) for _ in range(6)]

    def work(x: Tensor) -> list[Tensor]:
        torch.set_num_threads(count)  # torch remembers it for each thread
        return [t for f in MAPPINGS.values() for t in weights_and_gradient(f, x, x.flip(0))]

    expected = [work(x) for x in inputs]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(2):
            for got, wanted in zip(pool.map(work, inputs), expected, strict=True):
                assert_equal(got, wanted)


# ------------------------------------------------------------------ dispatch paths
def registered(name: str) -> Callable[..., Tensor]:
    """The operator as the dispatcher knows it."""
    strengths = SOLVERS[name].keywords
    tensors = [
        torch.tensor(v, dtype=torch.float64) if k in ("gamma", "lam", "alpha") else v
        for k, v in strengths.items()
    ]
    arguments = tensors if name in MAPPINGS else list(strengths.values())

    def call(x: Tensor, mask: Tensor | None = None) -> Tensor:
        output = getattr(torch.ops.regattn, name).default(x, mask, *arguments)
        return output[0] if isinstance(output, tuple) else output

    return call


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@each_solver
def test_every_dispatch_path_gives_the_same_bits(name, dtype):
    function, x, direction = SOLVERS[name], *torch.randn(2, 40, 30).to(dtype).unbind()
    y, gradient = weights_and_gradient(function, x, direction)
    assert_equal((function(x),), (y,))  # no derivative wanted
    dispatched = weights_and_gradient(registered(name), x, direction)
    assert_equal(dispatched[:1], (y,))
    # 1/γ is a factor in one, a divisor in the other; what is read off the weights has a kernel and a formula
    eps = 0 if name in BLOCKS else 4 * float(torch.finfo(dtype).eps * gradient.abs().max())
    torch.testing.assert_close(
        weights_and_gradient(registered(name), x, direction)[1], gradient, rtol=0, atol=eps
    )
    value, pull_back = torch.func.vjp(function, x)
    assert_equal((value,), (y,))
    torch.testing.assert_close(pull_back(direction)[0], gradient, rtol=0, atol=eps)
    assert_equal((torch.func.vmap(function)(x),), (y,))
    assert_equal(torch.func.jvp(function, (x,), (direction,))[:1], (y,))
    with torch.no_grad():
        assert_equal((function(x.requires_grad_()),), (y,))
    with torch.inference_mode():
        inside = function(x.detach())
        assert inside.is_inference()
        assert_equal((inside.clone(),), (y,))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x.detach(), direction)
        assert_equal((torch.autograd.forward_ad.unpack_dual(function(dual)).primal,), (y,))


@each_solver
def test_meta_tensors_have_the_shapes_of_others(name):
    x, direction = torch.empty(2, 3, 5, device="meta").unbind()
    found = weights_and_gradient(SOLVERS[name], x, direction)
    assert [(t.shape, t.device) for t in found] == 2 * [(x.shape, x.device)]


@each_solver
def test_kinds_of_backward_agree(name):
    function, x = SOLVERS[name], torch.randn(20, 9, dtype=torch.float64, requires_grad=True)
    directions = torch.randn(5, 20, 9, dtype=torch.float64)
    y = function(x)
    apart = [torch.autograd.grad(y, x, d, retain_graph=True)[0] for d in directions]
    (together,) = torch.autograd.grad(y, x, directions, is_grads_batched=True, retain_graph=True)
    torch.testing.assert_close(together, torch.stack(apart), rtol=0, atol=1e-14)
    (kept,) = torch.autograd.grad(y, x, directions[0], create_graph=True)
    torch.testing.assert_close(kept, apart[0], rtol=0, atol=1e-14)
    direction = directions[1].clone().requires_grad_()
    (first,) = torch.autograd.grad(y, x, direction, create_graph=True)
    (twice,) = torch.autograd.grad(first, direction, directions[2])  # J again, since J is symmetric
    torch.testing.assert_close(twice, apart[2], rtol=0, atol=1e-14)
    with pytest.raises(RuntimeError, match="second time"):
        z = function(x)
        z.sum().backward()
        z.sum().backward()


# ------------------------------------------------------------------ memory
@each_solver
def test_results_alias_nothing_and_inputs_are_left_alone(name):
    function = SOLVERS[name]
    for shape in ((5, 6), (6,), (1, 6), (2, 5, 6)):
        x, direction, mask = torch.randn(shape), torch.randn(shape), torch.rand(shape) > 0.2
        options = {"mask": mask} if name in MAPPINGS else {}
        before = x.clone(), direction.clone(), mask.clone()
        y, gradient = weights_and_gradient(function, x, direction, **options)
        expected = y.clone(), gradient.clone()
        assert_equal((x, direction, mask), before)
        storages = {t.untyped_storage().data_ptr() for t in (x, direction, mask, y, gradient)}
        assert len(storages) == 5
        x.fill_(7.0), direction.fill_(7.0), mask.fill_(False)
        assert_equal((y, gradient), expected)


@each_solver
def test_a_result_changed_in_place_does_not_spoil_the_gradient(name):
    function, x = SOLVERS[name], torch.randn(5, 6, requires_grad=True)
    (expected,) = torch.autograd.grad(function(x).sum(0)[2], x)
    y = function(x)
    if name in READ_OFF:  # its derivative is read off the weights: autograd notices
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(y.mul_(2).sum(0)[2], x)
    else:
        assert_equal(torch.autograd.grad(y.mul_(2).sum(0)[2], x), (2 * expected,))


@each_mapping
def test_masks_of_any_strides(name):
    function, (x, direction) = SOLVERS[name], torch.randn(2, 8, 4, 6).unbind()
    flags = torch.rand(8, 4, 6) > 0.3
    for mask in (
        flags[0, 0].expand(8, 4, 6),
        flags[:, :, :1].expand(8, 4, 6),
        flags[:1].expand(8, 4, 6),
        flags.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        flags.transpose(0, 1).contiguous().transpose(0, 1),
        torch.cat([flags, flags], -1)[..., 3:9],
        torch.stack([flags, ~flags], -1)[..., 0],
        torch.tensor(True).expand(8, 4, 6),
        torch.tensor(True),
        flags[0, 0],
    ):
        expected = weights_and_gradient(
            function, x, direction, mask=mask.expand(8, 4, 6).clone(memory_format=torch.contiguous_format)
        )
        assert_equal(weights_and_gradient(function, x, direction, mask=mask), expected)


@each_solver
def test_scores_and_directions_of_any_strides(name):
    function = SOLVERS[name]
    x, direction = torch.randn(2, 8, 4, 6).unbind()
    expected = weights_and_gradient(function, x, direction)

    def views(t: Tensor) -> list[Tensor]:
        return [
            t.permute(2, 0, 1).contiguous().permute(1, 2, 0),
            t.transpose(0, 1).contiguous().transpose(0, 1),
            torch.cat([torch.ones(3, 4, 6), t])[3:],  # a storage offset
            torch.cat([t, t], -1)[..., 6:],
            torch.stack([t, t + 1], -1)[..., 0],
        ]

    for scores in views(x):
        assert_equal((function(scores),), expected[:1])
        for along in views(direction):
            assert_equal(weights_and_gradient(function, scores, along), expected)
    one = x[:1, :1].expand(8, 4, 6)
    y, gradient = weights_and_gradient(function, one, direction[:1].expand(8, 4, 6))
    wanted = weights_and_gradient(function, one.contiguous(), direction[:1].expand(8, 4, 6).contiguous())
    assert_equal((y, gradient), wanted)
    odd = torch.randn(49)[1:].as_strided((5, 6), (3, 1))  # rows that overlap
    assert_equal((function(odd),), (function(odd.clone()),))
