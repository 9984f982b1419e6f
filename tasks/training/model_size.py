"""How large a model may be: checked while it is built, weight by weight, before any is filled."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

MOST_WEIGHTS = 10**9
"""Some ten times as many as the largest model of the paper has; training keeps five numbers for each."""
MOST_TENSORS = 10**4
"""That the weights are in. Each takes its time in every step, however small it is."""


def check_size(weights: int, tensors: int = 1) -> None:
    """Refuse a model that is too large to be built.

    Raises:
        ValueError: there are more than ``MOST_WEIGHTS`` weights or ``MOST_TENSORS`` tensors of them.
    """
    if weights > MOST_WEIGHTS:
        raise ValueError(f"a model must have at most {MOST_WEIGHTS:,} weights, got {weights:,} or more")
    if tensors > MOST_TENSORS:
        raise ValueError(
            f"a model must have at most {MOST_TENSORS:,} tensors of weights, got more: too many layers"
        )


@contextmanager
def bounded_size() -> Iterator[None]:
    """Refuse, as :func:`check_size` does, the models that are built inside: all their weights together."""
    counted: set[nn.Parameter] = set()
    weights = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal weights
        if parameter not in counted:  # tied weights are registered several times
            counted.add(parameter)
            weights += parameter.numel()
            check_size(weights, len(counted))

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
