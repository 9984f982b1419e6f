"""The most probable continuations of hypotheses, out of the probabilities of a whole vocabulary."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_right

_CHUNK = 64  # about the root of a vocabulary: few chunks to rank and few tokens in each


def most_probable(
    table: Tensor, total: Tensor, forbidden: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ``width`` most probable continuations, equal ones by hypothesis and then by token.

    The best continuations lie in those chunks of the vocabulary that have the best maxima, so that all the
    ``table`` (b, k, vocabulary) is read once, and only what is left is sorted.

    Returns:
        Log-probabilities of the continued hypotheses, which they continue, and tokens, each (b, ``width``).
    """
    size = table.shape[-1]
    chunk = min(_CHUNK, size)
    maxima = _chunk_maxima(table, forbidden, chunk)  # (b, k, chunks)
    chunks = maxima.shape[-1]
    maxima = (total[..., None] + maxima).flatten(1)
    order = _largest(maxima, min(width, maxima.shape[1])).sort(dim=1).values
    parents, place = order // chunks, order % chunks  # (b, m)
    tokens = (place * chunk)[..., None] + torch.arange(chunk, device=table.device)  # (b, m, chunk)
    entries = (parents * size)[..., None] + tokens.clamp(max=size - 1)
    values = table.flatten(1).gather(1, entries.flatten(1)).view_as(entries)
    out = pad_right(forbidden, (0, chunks * chunk - size), value=True).view(chunks, chunk)
    values = values.masked_fill(out[place], -math.inf)
    values = (total.gather(1, parents)[..., None] + values).flatten(1)
    order = _largest(values, width)
    order = order.gather(1, values.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return values.gather(1, order), parents.gather(1, order // chunk), tokens.flatten(1).gather(1, order)


def _largest(values: Tensor, n: int) -> Tensor:
    """Return the positions (b, n) of the largest ``values`` (b, m): NaN, then the first of equal ones.

    Equal ones stand in order. This is a stable sort cut to n, which takes ten times as long, for topk alone
    leaves open which of equal values it takes.
    """
    size = values.shape[1]
    values = values.nan_to_num(math.inf, math.inf, -math.inf)
    least = values.topk(n).values[:, -1:]
    earliest = torch.arange(size, 0, -1, device=values.device)
    keys = torch.where(values > least, earliest + size, torch.where(values == least, earliest, 0))
    return keys.topk(n).indices


def _chunk_maxima(table: Tensor, forbidden: Tensor, chunk: int) -> Tensor:
    # The special tokens are all in the first chunk, the vocabulary's end may be a shorter one.
    whole = table.shape[-1] // chunk * chunk
    first = table[..., :chunk].masked_fill(forbidden[:chunk], -math.inf).amax(-1, keepdim=True)
    middle = table[..., chunk:whole].unflatten(-1, (whole // chunk - 1, chunk)).amax(-1)
    last = [table[..., whole:].amax(-1, keepdim=True)] if whole < table.shape[-1] else []
    return torch.cat([first, middle, *last], -1)


def first_rows(values: Tensor, order: Tensor, n: int) -> Tensor:
    """Return the first ``n`` rows of ``values`` (b, m, c) in an ``order`` (b, m) of its rows."""
    return values.gather(1, order[:, :n, None].expand(-1, -1, values.shape[-1]))
