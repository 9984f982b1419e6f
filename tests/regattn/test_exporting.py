"""Between a model and its deployment: exporters, tracers, vmap in a compiled graph, sharded tensors."""

from __future__ import annotations

import warnings
import weakref

import pytest
import torch
from torch import Tensor, nn

import regattn
from tests.mappings import APPLIED, SOLVED

each_mapping = pytest.mark.parametrize("name", APPLIED)
each_solved = pytest.mark.parametrize("name", SOLVED)
ignores_warnings = pytest.mark.filterwarnings(
    "ignore"
)  # torch's own: tracing is deprecated, a mesh of one odd
BATCH, LENGTH = torch.export.Dim("batch"), torch.export.Dim("length")


class Masked(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.mapping = APPLIED[name]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.mapping(x, mask=mask)


def batch(rows: int, d: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, d), torch.rand(rows, d) > 0.2


@each_mapping
def test_exported_with_any_batch_and_any_length(name):
    shapes = ({0: BATCH, 1: LENGTH},) * 2
    program = torch.export.export(Masked(name), batch(3, 50), dynamic_shapes=shapes).module()
    for rows, d in ((2, 7), (5, 8193)):  # on both sides of where a structure needs larger integers
        x, mask = batch(rows, d)
        assert torch.equal(program(x, mask), APPLIED[name](x, mask=mask))


def test_attention_is_exported_with_any_batch_and_any_length():
    layer = regattn.MultiheadAttention(8, 2, batch_first=True, mapping=regattn.Sparsemax()).eval()
    names = ("query", "key", "value", "key_padding_mask")

    def inputs(rows: int, d: int) -> dict[str, Tensor]:
        query = torch.randn(rows, d, 8)
        return dict(zip(names, (query, query, query, torch.rand(rows, d) > 0.7), strict=True))

    shapes = {key: {0: BATCH, 1: LENGTH} for key in names}
    program = torch.export.export(layer, (), inputs(3, 7), dynamic_shapes=shapes).module()
    given = inputs(5, 11)
    torch.testing.assert_close(program(**given), layer(**given), rtol=0, atol=1e-6)


@each_solved
def test_vmap_in_compiled_code_takes_all_rows_at_once(name, fresh_compiler):
    x, mask = torch.randn(3, 4, 7), torch.rand(3, 7) > 0.2
    mapped = torch.compile(torch.vmap(Masked(name).forward), fullgraph=True, backend="aot_eager")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*batching rule")  # of loops over the batch
        y = mapped(x, mask)
    assert torch.equal(y, APPLIED[name](x, mask=mask.unsqueeze(1)))
    rule = torch._C._dispatch_has_kernel_for_dispatch_key
    assert rule(f"regattn::{name}", "FuncTorchBatched")


@pytest.mark.parametrize("name", ["sparsemax", "fusedmax", "pnormmax"])
def test_compiled_transforms_are_those_of_eager_code(name, fresh_compiler):
    def loss(x: Tensor) -> Tensor:
        return (APPLIED[name](x) ** 2).sum()

    def slope(x: Tensor) -> Tensor:
        return (torch.func.grad(loss)(x) ** 2).sum()

    x = torch.randn(3, 5, dtype=torch.float64)
    transforms = torch.func.vmap(torch.func.grad(loss)), torch.func.grad(slope), torch.func.jacfwd(loss)
    for transformed in transforms:
        found = torch.compile(transformed, fullgraph=True, backend="aot_eager")(x)
        torch.testing.assert_close(found, transformed(x))
    function, strengths = APPLIED[name].func, dict(APPLIED[name].keywords)
    slopes = torch.func.grad(lambda gamma: (function(x, **{**strengths, "gamma": gamma}) ** 2).sum())
    gamma = torch.tensor(0.7, dtype=torch.float64)
    compiled = torch.compile(slopes, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(gamma), slopes(gamma))


def test_a_mask_and_a_strength_may_come_after_other_lengths(fresh_compiler):
    def weights(scores: Tensor, mask: Tensor | None, gamma: Tensor | None) -> Tensor:
        return regattn.fusedmax(scores, mask=mask, gamma=1.0 if gamma is None else gamma)

    compiled = torch.compile(weights, fullgraph=True, backend="aot_eager")
    for rows, d in ((4, 6), (5, 7)):  # from here on no size is fixed
        compiled(torch.randn(rows, d), None, None)
    x = torch.randn(3, 8)
    for arguments in ((torch.rand(3, 8) < 0.7, None), (None, torch.full((3, 1), 0.5))):
        assert torch.equal(compiled(x, *arguments), weights(x, *arguments))
    with pytest.raises(torch._dynamo.exc.Unsupported, match="must be broadcastable"):
        compiled(x, torch.ones(2, 8, dtype=torch.bool), None)


@ignores_warnings
@each_solved
def test_tracing_is_refused_in_one_sentence(name):
    wanted = f"{name} must be exported by torch.export, got torch.jit.trace"
    with pytest.raises(ValueError, match=wanted):
        torch.jit.trace(Masked(name), batch(3, 5))


@ignores_warnings
def test_traced_softmax_gives_zeros_for_an_empty_row():
    traced = torch.jit.trace(Masked("softmax"), batch(3, 5))
    x, mask = torch.randn(4, 6), torch.zeros(4, 6, dtype=torch.bool)
    assert torch.equal(traced(x, mask), torch.zeros(4, 6))


@each_solved
def test_export_to_onnx_is_plain_or_refused_in_a_sentence(name, monkeypatch):
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)  # which needs onnxscript to be true
    solver = regattn.MAPPINGS[name].solver
    if solver is None or solver.plain is None:
        wanted = f"a mapping exported to ONNX must be one of softmax, sparsemax, entmax15, got {name}"
        with pytest.raises(ValueError, match=wanted):
            torch.export.export(Masked(name), batch(3, 5), strict=False)
        return
    shapes = ({0: BATCH, 1: LENGTH},) * 2
    program = torch.export.export(Masked(name), batch(3, 5), strict=False, dynamic_shapes=shapes)
    assert not [node for node in program.graph.nodes if "regattn" in str(node.target)]
    for rows, d in ((2, 7), (50, 300)):
        x, mask = batch(rows, d)
        x[0, ::2], mask[1] = -torch.inf, False
        found = program.module()(x, mask)
        assert not found[1].any()
        torch.testing.assert_close(found, APPLIED[name](x, mask=mask), rtol=0, atol=1e-7)


@each_solved
def test_mask_is_not_kept_for_the_backward_pass(name):
    x, mask = batch(3, 5)
    y = APPLIED[name](x.requires_grad_(), mask=mask)
    kept = weakref.ref(mask)
    del mask
    assert kept() is None
    y.sum().backward()


@pytest.fixture
def mesh():
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7):
        pytest.skip("DTensor has no amax before torch 2.7")
    if not torch.distributed.is_available():
        pytest.skip("this build of PyTorch has no torch.distributed")
    from torch.distributed.device_mesh import init_device_mesh

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@ignores_warnings
def test_sharded_rows_stay_where_they_are(mesh):
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    x, direction = torch.randn(2, 6, 4, 7)
    mask, gamma = torch.rand(4, 7) > 0.2, torch.rand(4, 1) + 0.5
    for name in SOLVED:
        for at, left in ((0, Shard(0)), (1, Shard(1)), (2, Replicate())):
            single = [x.clone().requires_grad_(), gamma.clone().requires_grad_()]
            sharded = [
                distribute_tensor(x, mesh, [Shard(at)]).requires_grad_(),
                distribute_tensor(gamma, mesh, [Replicate()]).requires_grad_(),
            ]
            y = APPLIED[name](single[0], gamma=single[1], mask=mask)
            z = APPLIED[name](sharded[0], gamma=sharded[1], mask=distribute_tensor(mask, mesh, [Replicate()]))
            assert z.placements == (left,)
            expected = torch.autograd.grad(y, single, direction)
            got = torch.autograd.grad(z, sharded, distribute_tensor(direction, mesh, [Shard(at)]))
            assert torch.equal(z.full_tensor(), y)
            for one, other in zip(got, expected, strict=True):
                torch.testing.assert_close(one.full_tensor(), other, rtol=0, atol=1e-6)
