"""The mappings as attention implementations of Hugging Face transformers (extra ``transformers``)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from regattn._registry import MAPPINGS, as_module
from regattn._scaled_dot_product import attend, causal_mask, split_mask

try:
    from transformers import MODEL_MAPPING, AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask
except ImportError as error:
    raise ImportError(
        "regattn.huggingface needs transformers: pip install 'regattn[transformers]'"
    ) from error

# What a model may ask of its attention that changes the weights and that no mapping has.
_NOT_IMPLEMENTED = ("softcap", "s_aux", "sinks", "indices", "block_indices", "cu_seq_lens_q", "cache")


def register(name: str | None = None, mapping: Callable[..., Tensor] | str | None = None) -> None:
    """Make mappings known to transformers as values of ``attn_implementation``.

    ``register()`` registers ``regattn_softmax``, ``regattn_sparsemax``, ``regattn_fusedmax`` and so on, every
    mapping of this library that is a regularized argmax, each with its default strengths;
    ``register(name, mapping)`` registers one of your own. A name is used as ``"eager"`` is, in
    ``from_pretrained``, ``from_config`` and ``model.set_attn_implementation``, after every start of
    Python; it is not saved with a model. The weights are in ``model(…, output_attentions=True)``. A query
    that may attend to nothing gets zeros.

    Older models compute attention by themselves. Those that ask for a mask are refused in their forward
    pass (Bloom); the rest (DeBERTa, XLNet) take any registered name and ignore it in silence, unless it is
    set by ``model.set_attn_implementation(name)``, which warns.

    Args:
        name: ``regattn_`` and letters, digits or underscores.
        mapping: module ``(scores, mask) -> weights`` or function ``(scores, mask=…) -> weights`` along
            the last dimension, or the name of one of :data:`regattn.MAPPINGS`. All layers of all models
            share it: if it has parameters, no model moves, trains or saves them.

    Raises:
        ValueError: a name of another form, or one of ``name`` and ``mapping`` without the other. Models
            raise it in their forward pass if they ask for an attention that is not implemented here, such
            as one with ``softcap``.

    Example:
        >>> from transformers import AutoModel, BertConfig
        >>> from regattn.huggingface import register
        >>> register("regattn_fusedmax_strong", Fusedmax(lam=0.5))
        >>> config = BertConfig(
        ...     hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8, vocab_size=9)
        >>> model = AutoModel.from_config(config, attn_implementation="regattn_fusedmax_strong").eval()
        >>> model(torch.tensor([[1, 5, 3]]), output_attentions=True).attentions[0].shape
        torch.Size([1, 2, 3, 3])
    """
    if name is None and mapping is None:
        for spec in MAPPINGS.values():
            if spec.omega is not None:
                register(f"regattn_{spec.name}", spec.function)
        return
    if name is None or mapping is None:
        raise ValueError(f"name and mapping must be given both or neither, got {name!r} and {mapping!r}")
    # transformers reads meaning into other names, such as those with a slash or with "sdpa" in them.
    if not re.fullmatch(r"regattn_(?!.*(sdpa|flash|flex))\w+", name):
        raise ValueError(f"name must be regattn_… in letters, digits and underscores, got {name!r}")
    AttentionInterface.register(name, partial(_attention, as_module(mapping)))
    AttentionMaskInterface.register(name, _mask)  # without it models pass no mask and say nothing


def _mask(*arguments: Any, config: Any = None, **options: Any) -> Tensor | None:
    """The mask that transformers makes for ``eager``; None if it hides nothing and is not causal.

    Floating rather than bool, because some models take their mask from here and add it to scores of
    their own: a bool mask would leave them with garbage.
    """
    kind: Any = type(config)
    if not torch.compiler.is_compiling() and _computes_attention_by_itself(kind):
        raise ValueError(
            f"the model of {kind.__name__} computes attention by itself and would ignore the mapping; "
            "use attn_implementation='eager' with this model"
        )
    mask: Tensor | None = eager_mask(*arguments, **options)
    return mask


@cache
def _computes_attention_by_itself(config: Any) -> bool:
    found = MODEL_MAPPING.get(config, ())  # a class, or classes
    models = found if isinstance(found, tuple) else (found,)
    return not all(model._can_set_attn_implementation() for model in models)


def _attention(
    mapping: Callable[..., Tensor],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor]:
    """Output (batch, targets, heads, size) and weights (batch, heads, targets, sources)."""
    _refuse(module, {name: others.get(name) for name in _NOT_IMPLEMENTED})
    if attention_mask is None:
        if sliding_window is not None and key.shape[2] > sliding_window:
            _refuse(module, {"sliding_window without a mask": sliding_window})
        # As transformers' sdpa reads a missing mask; one query is the newest and sees all keys.
        is_causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        if is_causal and query.shape[2] > 1:
            attention_mask = causal_mask(query, key)
    bias = mask = None
    if attention_mask is not None:
        bias, mask = split_mask(attention_mask, "attention_mask")
    if position_bias is not None:
        bias = position_bias if bias is None else bias + position_bias
    output, weights = attend(query, key, value, bias, mask, dropout, scaling, mapping)
    return output.transpose(1, 2).contiguous(), weights


def _refuse(module: nn.Module, asked: dict[str, Any]) -> None:
    for name, value in asked.items():
        if value is not None:
            raise ValueError(
                f"regattn's attention has no {name}, which {type(module).__name__} asks for; "
                "use attn_implementation='eager' with this model"
            )
