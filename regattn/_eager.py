"""When eager code may hand a tensor to a kernel directly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_plain(tensor: Tensor) -> bool:
    """Whether a kernel may read the tensor: nothing is to be traced, batched or carried along."""
    return (
        not torch.compiler.is_compiling()
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.device.type != "meta"
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._functorch.is_legacy_batchedtensor(tensor)  # is_grads_batched=True
        and forward_ad._current_level < 0
    )


def wants_gradient(*arguments: Any) -> bool:
    """Whether autograd is to remember an operation on these."""
    return torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in arguments)


def apply_plainly(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function.apply`` for plain tensors.

    ``apply`` inspects the signature of ``forward`` anew in each call, for functorch's sake, which
    costs more than a kernel does on short rows.
    """
    return super(torch.autograd.Function, function).apply(*arguments)  # type: ignore[misc]
