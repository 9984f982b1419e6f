"""Scaled dot-product attention under any mapping."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regattn._checks import Strength, check_broadcasts
from regattn._registry import Mapping, resolve
from regattn._softmax import softmax


@overload
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    need_weights: Literal[False] = False,
    mapping: Callable[..., Tensor] | str = softmax,
    **strengths: Strength,
) -> Tensor: ...
@overload
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    need_weights: Literal[True],
    mapping: Callable[..., Tensor] | str = softmax,
    **strengths: Strength,
) -> tuple[Tensor, Tensor]: ...
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    need_weights: bool = False,
    mapping: Callable[..., Tensor] | str = softmax,
    **strengths: Strength,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Attention as :func:`torch.nn.functional.scaled_dot_product_attention` has it, with another mapping.

    .. math::
        \operatorname{dropout}\bigl(\Pi_\Omega(\mathrm{scale} \cdot Q K^\top + \text{attn\_mask})\bigr)\, V

    The arguments up to ``enable_gqa`` mean what they mean there; with ``softmax`` the results are the same,
    except that a query that may attend to nothing gets zeros.

    Args:
        query: (…, heads, targets, size), floating.
        key: (…, heads, sources, size).
        value: (…, heads, sources, value_size).
        attn_mask: broadcastable to (…, heads, targets, sources); bool, ``True`` where attention is allowed,
            or floating, added to the scores. Attention is not allowed where it is −1e4 or less (people
            write −1e4, −1e9, ``finfo.min`` or −inf): the position is removed, for a structured penalty
            would see it otherwise. A smaller bias stays a bias.
        dropout_p: probability in [0, 1] that a weight is dropped; used whenever it is above 0.
        is_causal: query i attends to the first i + 1 keys; not together with ``attn_mask``.
        scale: factor of the scores; 1/√size if None.
        enable_gqa: every key and value head serves a group of consecutive query heads.
        need_weights: whether to return the weights as well.
        mapping: function ``(scores, mask=…) -> weights`` along the last dimension, module
            ``(scores, mask) -> weights``, or the name of one of :data:`regattn.MAPPINGS`.
        **strengths: keyword parameters of the mapping, such as ``lam=0.1``.

    Returns:
        Output (…, heads, targets, value_size), zeros if there are no sources; with ``need_weights`` a pair of
        it and the weights (…, heads, targets, sources) that averaged the values, after dropout.

    Raises:
        TypeError: ``query``, ``key`` or ``value`` is not floating.
        ValueError: shapes that do not fit, a malformed ``attn_mask``, ``attn_mask`` beside ``is_causal``,
            ``dropout_p`` outside [0, 1], or a mapping along another dimension than the last.

    Example:
        >>> query, key = torch.tensor([[1.0]]), torch.tensor([[2.1], [1.9], [1.0]])
        >>> value = torch.tensor([[1.0], [2.0], [4.0]])
        >>> scaled_dot_product_attention(query, key, value, mapping=fusedmax, lam=0.2)
        tensor([[1.5000]])
        >>> mask = torch.tensor([True, False, True])
        >>> scaled_dot_product_attention(query, key, value, mask, mapping=sparsemax, need_weights=True)
        (tensor([[1.]]), tensor([[1., 0., 0.]]))

    Source: Vaswani et al. (2017), section 3.2.1; the mappings are those of Niculae & Blondel (2017).
    """
    _check_shapes(query, key, value, enable_gqa)
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"dropout_p must be in [0, 1], got {dropout_p!r}")
    if is_causal and attn_mask is not None:
        raise ValueError("is_causal must be False where attn_mask is given, got both")
    if is_causal:
        attn_mask = causal_mask(query, key)
    bias, mask = (None, None) if attn_mask is None else split_mask(attn_mask)
    output, weights = attend(query, key, value, bias, mask, dropout_p, scale, mapping, **strengths)
    return (output, weights) if need_weights else output


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    dropout_p: float,
    scale: float | None,
    mapping: Callable[..., Tensor] | str,
    **strengths: Strength,
) -> tuple[Tensor, Tensor]:
    """Output and weights, with what is added to the scores apart from who may be attended to."""
    if min(query.ndim, key.ndim) > 2 and 1 < key.shape[-3] < query.shape[-3]:  # one head broadcasts by itself
        groups = query.shape[-3] // key.shape[-3]
        key, value = (x.repeat_interleave(groups, -3) for x in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ key.mT  # (…, targets, sources)
    for given in (bias, mask):
        if given is not None:
            check_broadcasts("attn_mask", given, scores)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    weights = scores if scores.shape[-1] == 0 else _weigh(scores, mask, mapping, strengths)
    weights = F.dropout(weights, dropout_p)
    return weights @ value, weights


def causal_mask(query: Tensor, key: Tensor) -> Tensor:
    return torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()


def split_mask(attn_mask: Tensor, name: str = "attn_mask") -> tuple[Tensor | None, Tensor]:
    """(what to add to the scores, where attention is allowed) of a bool or a floating mask.

    What is written to mean "not there" goes into the bool mask, so that no mapping meets it as a score.
    """
    if attn_mask.dtype == torch.bool:
        return None, attn_mask
    if not attn_mask.is_floating_point():
        raise ValueError(
            f"{name} must be a bool or a floating tensor, got {attn_mask.dtype}; "
            f"if 1 is where attention is allowed, pass {name}.bool()"
        )
    highest = -9984.0 if attn_mask.dtype == torch.bfloat16 else -1e4  # −1e4 is rounded to that
    absent = attn_mask <= highest
    return attn_mask.masked_fill(absent, 0.0), ~absent


def _weigh(scores: Tensor, mask: Tensor | None, mapping: Any, strengths: dict[str, Any]) -> Tensor:
    if isinstance(mapping, Mapping) and mapping.dim not in (-1, scores.ndim - 1):
        raise ValueError(f"mapping must work along dim -1, got {mapping}")
    if isinstance(mapping, nn.Module) and not strengths:
        weights: Tensor = mapping(scores, mask)
        return weights
    function, strengths = resolve(mapping, strengths)
    return function(scores, mask=mask, **strengths)


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> None:
    """Refuse what has no scores, in one sentence instead of a failed matrix product."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        if not x.is_floating_point():
            raise TypeError(f"{name} must be a floating-point tensor, got {x.dtype}")
        if x.is_nested:
            raise ValueError(f"{name} must be padded, with a mask, got a nested tensor")
        if x.ndim < 2:
            raise ValueError(f"{name} must have at least 2 dimensions, got shape {tuple(x.shape)}")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(f"key must be of the query's size {query.shape[-1]}, got {key.shape[-1]}")
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(f"value must have the key's {key.shape[-2]} positions, got {value.shape[-2]}")
    heads = [x.shape[-3] if x.ndim > 2 else 1 for x in (query, key, value)]
    if enable_gqa and (heads[0] % heads[1] or heads[1] != heads[2]):
        raise ValueError(f"enable_gqa must have a whole number of query heads per key head, got {heads}")
    if not enable_gqa and len({*heads} - {1}) > 1:
        raise ValueError(f"query, key and value must have equally many heads without enable_gqa, got {heads}")
