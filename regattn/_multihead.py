"""Multi-head attention with any mapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regattn._registry import as_module, shown
from regattn._scaled_dot_product import attend, split_mask
from regattn._softmax import softmax


class MultiheadAttention(nn.MultiheadAttention):
    r""":class:`torch.nn.MultiheadAttention` with another mapping in softmax's place.

    .. math::
        \operatorname{Concat}(h_1, \ldots, h_H)\, W^O, \qquad
        h_i = \Pi_\Omega\bigl(Q W_i^Q (K W_i^K)^\top / \sqrt{d}\bigr)\, V W_i^V

    Parameters, their initial values and the state dict are those of the parent class, so that checkpoints
    load both ways. Its fused kernels for inference know softmax alone and are never taken, neither here
    nor by :class:`torch.nn.TransformerEncoderLayer`.

    Args:
        embed_dim, num_heads, dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim: as in the parent class.
        batch_first, device, dtype: likewise.
        mapping: module ``(scores, mask) -> weights`` or function ``(scores, mask=…) -> weights`` along the
            last dimension, or the name of one of :data:`regattn.MAPPINGS`; :func:`softmax` if None. A module
            becomes a submodule: its parameters, if it has any, are trained and saved with the rest.

    Example:
        >>> attend = MultiheadAttention(8, num_heads=2, batch_first=True, mapping=Fusedmax(lam=0.2))
        >>> x, padding = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([[5], [4], [2]])
        >>> output, weights = attend(x, x, x, key_padding_mask=padding)
        >>> output.shape, weights.shape, weights[2, :, 2:].sum().item()
        (torch.Size([3, 5, 8]), torch.Size([3, 5, 5]), 0.0)

    Source: Vaswani et al. (2017), section 3.2.2; the mappings are those of Niculae & Blondel (2017).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        mapping: Callable[..., Tensor] | str | None = None,
    ) -> None:
        rest: dict[str, Any] = {"kdim": kdim, "vdim": vdim, "batch_first": batch_first}
        super().__init__(
            embed_dim,
            num_heads,
            dropout,
            bias,
            add_bias_kv,
            add_zero_attn,
            device=device,
            dtype=dtype,
            **rest,
        )
        self.mapping = softmax if mapping is None else as_module(mapping)

    def extra_repr(self) -> str:
        return shown(self.mapping, embed_dim=self.embed_dim, num_heads=self.num_heads, dropout=self.dropout)

    def _reset_parameters(self) -> None:
        self._qkv_same_embed_dim = self.in_proj_weight is not None
        super()._reset_parameters()
        # TransformerEncoderLayer reads this before it computes softmax attention from our weights by itself.
        self._qkv_same_embed_dim = False

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Output and weights, with the arguments of :meth:`torch.nn.MultiheadAttention.forward`.

        Args:
            query: (batch, targets, embed_dim) if ``batch_first``, else (targets, batch, embed_dim); or
                (targets, embed_dim). ``key`` and ``value`` likewise, with sources, ``kdim`` and ``vdim``.
            key_padding_mask: (batch, sources); bool, ``True`` where a key is **not** to be attended to, or
                floating, added to the scores; −1e4 or less means that it is not, either.
            attn_mask: (targets, sources) or (batch·heads, targets, sources), bool or floating likewise.
            is_causal: says that ``attn_mask`` is causal; the mask is what counts.

        Returns:
            Output shaped as the query, and None or the weights (batch, targets, sources), with heads after
            batch unless averaged. A query that may attend to nothing gets zeros from every head.

        Raises:
            ValueError: shapes that do not fit, a malformed mask, ``is_causal`` without ``attn_mask``, or
                nested tensors that are not one self-attention without masks and weights.
        """
        if query.is_nested or key.is_nested or value.is_nested:
            plain = key_padding_mask is None and attn_mask is None and not need_weights
            return self._forward_nested(query, key, value, plain=plain), None
        if is_causal and attn_mask is None:
            raise ValueError("is_causal must come with the attn_mask that it describes, got none")
        batched = query.ndim == 3
        query, key, value = self._batch_first(query, key, value)
        bias, mask = self._masks(query, key, key_padding_mask, attn_mask, batched)
        q, k, v = self._heads(query, key, value)
        dropout_p = self.dropout if self.training else 0.0
        context, weights = attend(q, k, v, bias, mask, dropout_p, None, self.mapping)
        joined = context.transpose(1, 2).flatten(2)  # (batch, targets, embed_dim)
        output = self.out_proj(joined.transpose(0, 1) if batched and not self.batch_first else joined)
        if not batched:
            output, weights = output.squeeze(0), weights.squeeze(0)
        return output, (weights.mean(-3) if average_attn_weights else weights) if need_weights else None

    if TYPE_CHECKING:  # nn.Module has a call return Any

        def __call__(
            self,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            key_padding_mask: Tensor | None = None,
            need_weights: bool = True,
            attn_mask: Tensor | None = None,
            average_attn_weights: bool = True,
            is_causal: bool = False,
        ) -> tuple[Tensor, Tensor | None]: ...

    def _batch_first(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, positions, size) each; what was one tensor stays one, so that it is projected at once."""
        sizes = {"query": self.embed_dim, "key": self.kdim, "value": self.vdim}
        for (name, size), x in zip(sizes.items(), (query, key, value), strict=True):
            if x.ndim not in (2, 3) or x.ndim != query.ndim or x.shape[-1] != size:
                shape = f"(…, …, {size}), or (…, {size}) if all are without a batch"
                raise ValueError(f"{name} must be of shape {shape}, got {tuple(x.shape)}")

        def moved(x: Tensor) -> Tensor:
            return x.unsqueeze(0) if x.ndim == 2 else x if self.batch_first else x.transpose(0, 1)

        q = moved(query)
        k = q if key is query else moved(key)
        v = k if value is key else moved(value)
        if k.shape[:2] != v.shape[:2] or q.shape[0] != k.shape[0]:
            shapes = [tuple(x.shape[:2]) for x in (q, k, v)]
            raise ValueError(
                f"key and value must have one (batch, sources) and the query's batch, got {shapes}"
            )
        return q, k, v

    def _masks(
        self, query: Tensor, key: Tensor, padding: Tensor | None, attn_mask: Tensor | None, batched: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """What is added to the scores, and where attention is allowed."""
        batch, pairs = query.shape[0], (query.shape[1], key.shape[1])
        heads = (self.num_heads,) if attn_mask is not None and attn_mask.ndim == 3 else ()
        extra = (self.bias_k is not None) + self.add_zero_attn
        bias = mask = None
        for name, given, shape, view in (
            ("attn_mask", attn_mask, (*(batch * h for h in heads), *pairs), (-1, *(heads or (1,)), *pairs)),
            ("key_padding_mask", padding, (batch, pairs[1])[not batched :], (batch, 1, 1, pairs[1])),
        ):
            if given is None:
                continue
            if given.shape != shape:
                raise ValueError(f"{name} must be of shape {shape}, got {tuple(given.shape)}")
            if not (given.dtype == torch.bool or given.is_floating_point()):
                raise ValueError(
                    f"{name} must be a bool or a floating tensor, got {given.dtype}; "
                    f"if 1 is where attention is allowed, as from a tokenizer, pass {name} == 0"
                )
            added, allowed = split_mask(~given if given.dtype == torch.bool else given)
            allowed = F.pad(allowed.reshape(view), (0, extra), value=True)
            mask = allowed if mask is None else mask & allowed
            if added is not None:
                added = F.pad(added.reshape(view), (0, extra))
                bias = added if bias is None else bias + added
        return bias, mask

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        if self.in_proj_weight is None:
            weights: tuple[Tensor, ...] = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        elif query is key and key is value:
            return F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        else:
            weights = self.in_proj_weight.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return tuple(F.linear(*each) for each in zip((query, key, value), weights, biases, strict=True))

    def _heads(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """(batch, heads, positions, head_dim), with the learned and the zero position if any."""
        query, key, value = self._project(query, key, value)
        if self.bias_k is not None and self.bias_v is not None:
            key = torch.cat([key, self.bias_k.expand(key.shape[0], -1, -1)], 1)
            value = torch.cat([value, self.bias_v.expand(value.shape[0], -1, -1)], 1)
        if self.add_zero_attn:
            key, value = F.pad(key, (0, 0, 0, 1)), F.pad(value, (0, 0, 0, 1))
        return [x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2) for x in (query, key, value)]

    def _forward_nested(self, query: Tensor, key: Tensor, value: Tensor, *, plain: bool) -> Tensor:
        """Self-attention of what TransformerEncoder makes of padded input without gradients."""
        if not (plain and self.batch_first and query is key and key is value):
            raise ValueError(
                "a nested tensor must come in self-attention with batch_first=True, need_weights=False and "
                "no masks; else pad it and pass key_padding_mask"
            )
        padded, lengths = query.to_padded_tensor(0.0), [len(x) for x in query.unbind()]
        positions = torch.arange(padded.shape[1], device=padded.device)
        output, _ = self(padded, padded, padded, positions >= positions.new_tensor(lengths).unsqueeze(1))
        return torch.nested.as_nested_tensor([x[:n] for x, n in zip(output, lengths, strict=True)])
