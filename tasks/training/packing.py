"""Nested state to plain JSON and named tensors, and back: what lets a checkpoint do without pickle."""

import math
from typing import Any

from torch import Tensor


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Describe ``value`` in plain JSON and move its tensors, named by their path, into ``tensors``.

    Args:
        value: tensors, numbers, strings and None in dicts, lists and tuples, such as an optimizer's
            ``state_dict()``.
        name: first part of the names of the tensors.
        tensors: receives the tensors.

    Returns:
        A description from which :func:`unpack` rebuilds ``value``. Containers are tagged, because JSON knows
        neither tuples nor keys that are integers.

    Raises:
        TypeError: ``value`` contains something else.

    Example:
        >>> pack({0: (1.5, None)}, "state", {})
        {'dict': [[0, {'tuple': [1.5, None]}]]}
    """
    if isinstance(value, Tensor):
        assert name not in tensors, f"two tensors are called {name}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_key(key), pack(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        tag = "list" if isinstance(value, list) else "tuple"
        return {tag: [pack(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name} must be made of tensors, numbers, strings and None, got {type(value).__name__}")


def unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """Rebuild the value that :func:`pack` described.

    Example:
        >>> unpack({"dict": [[0, {"tuple": [1.5, None]}]]}, {})
        {0: (1.5, None)}
    """
    if not isinstance(packed, dict):
        return packed
    ((tag, content),) = packed.items()
    if tag == "tensor":
        return tensors[content]
    if tag == "dict":
        return {key: unpack(item, tensors) for key, item in content}
    if tag == "float":
        return float(content)
    items = [unpack(item, tensors) for item in content]
    return items if tag == "list" else tuple(items)


def _key(key: object) -> object:
    if not isinstance(key, int | str):
        raise TypeError(f"a key must be an integer or a string, got {key!r}")
    return key
