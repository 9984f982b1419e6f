"""A small random encoder–decoder: a GRU with dot attention, which the search and its tests can run."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from tasks.data.vocabulary import BOS, EOS, PAD


@dataclass(frozen=True)
class ToyMemory:
    keys: Tensor  # (b, S, hidden)
    mask: Tensor  # (b, S)

    def select(self, rows: Tensor) -> "ToyMemory":
        return ToyMemory(self.keys[rows], self.mask[rows])


@dataclass(frozen=True)
class ToyState:
    hidden: Tensor  # (b, k, hidden)

    def select(self, rows: Tensor) -> "ToyState":
        return ToyState(self.hidden[rows])

    def reorder(self, beams: Tensor) -> "ToyState":
        return ToyState(self.hidden.gather(1, beams[..., None].expand(-1, -1, self.hidden.shape[-1])))


class ToyModel(nn.Module):
    """A model with random numbers.

    Args:
        vocabulary: how many tokens there are, the special ones included.
        hidden: size of every vector.
        seed: of the random numbers.
        scale: standard deviation of the parameters; large ones make rounding errors grow from step to step.
        sharpness: factor of the logits; at 0 all tokens are equally probable.
        ending: added to the logit of the end.
    """

    def __init__(
        self,
        vocabulary: int,
        hidden: int = 8,
        *,
        seed: int = 0,
        scale: float = 1.0,
        sharpness: float = 1.0,
        ending: float = 0.0,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.cell = nn.GRUCell(2 * hidden, hidden)
        self.out = nn.Linear(2 * hidden, vocabulary)
        self.sharpness, self.ending = sharpness, ending
        for parameter in self.parameters():
            parameter.data = scale * torch.randn(parameter.shape, generator=generator)
        self.eval()

    def encode(self, source: Tensor, lengths: Tensor) -> ToyMemory:
        return ToyMemory(self.embedding(source), source != PAD)

    def start(self, memory: ToyMemory) -> ToyState:
        mean = (memory.keys * memory.mask[..., None]).sum(1) / memory.mask.sum(1)[:, None]
        return ToyState(mean[:, None])

    def step(self, tokens: Tensor, state: ToyState, memory: ToyMemory) -> tuple[Tensor, Tensor, ToyState]:
        scores = state.hidden @ memory.keys.mT
        weights = scores.masked_fill(~memory.mask[:, None], -torch.inf).softmax(-1)
        context = weights @ memory.keys
        read = torch.cat([self.embedding(tokens), context], -1)
        hidden = self.cell(read.flatten(0, 1), state.hidden.flatten(0, 1)).view_as(state.hidden)
        logits = self.sharpness * self.out(torch.cat([hidden, context], -1))
        logits[..., EOS] += self.ending
        return logits.log_softmax(-1), weights, ToyState(hidden)


@torch.no_grad()
def rescore(model: Any, source: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]]) -> list[float]:
    """The log-probability of an output for each source, its end included.

    In one batch, as the search has it: matrix products of other shapes round otherwise, by as much as the
    tests allow.
    """
    memory = model.encode(source, lengths)
    state, totals = model.start(memory), [0.0] * len(targets)
    steps = [list(zip([BOS, *target], [*target, EOS], strict=True)) for target in targets]
    for pairs in zip_longest(*steps, fillvalue=(EOS, EOS)):
        table, _, state = model.step(torch.tensor([[before] for before, _ in pairs]), state, memory)
        for row, (before, token) in enumerate(pairs):
            totals[row] += float(table[row, 0, token]) if before != EOS else 0.0
    return totals
