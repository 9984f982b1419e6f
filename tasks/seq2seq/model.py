"""The attentional encoder–decoder of the paper's translation and summarization, with any mapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from regattn import AdditiveScorer, Attention, BilinearScorer, DotScorer
from tasks.checks import Fraction, PositiveInt, Range, check_ranges
from tasks.data.vocabulary import PAD

Cell = Literal["lstm", "gru"]
CELLS: dict[Cell, tuple[Callable[..., nn.RNNBase], Any]] = {
    # The functions behind nn.LSTMCell and nn.GRUCell, which take the weights that the sequence form owns.
    "lstm": (nn.LSTM, torch.lstm_cell),
    "gru": (nn.GRU, torch.gru_cell),
}

States = tuple[Tensor, ...]
"""The state of all layers: (layers, rows, hidden), one tensor for a GRU, hidden and cell for an LSTM."""

SCORERS: dict[str, Callable[[int], nn.Module]] = {
    "dot": lambda size: DotScorer(),
    "scaled_dot": lambda size: DotScorer(scaled=True),
    "bilinear": lambda size: BilinearScorer(size, size),
    "additive": lambda size: AdditiveScorer(size, size, size),
}


@dataclass(frozen=True)
class ModelSettings:
    """Shape of an encoder–decoder; the defaults are those of OpenNMT-py in 2017."""

    cell: Cell = "lstm"
    layers: PositiveInt = 2  # of the encoder and of the decoder
    hidden_size: PositiveInt = 500  # of the decoder's states and of the encoder's, both directions together
    embedding_size: PositiveInt = 500  # of the word vectors
    bidirectional: bool = False  # the encoder, with half the hidden_size in each direction
    input_feed: bool = True  # whether the decoder's input holds the attention's last output
    scorer: Literal["dot", "scaled_dot", "bilinear", "additive"] = "bilinear"  # bilinear is Luong's general
    dropout: Fraction = 0.3  # between layers and of the attention's output
    embedding_dropout: Fraction = 0.0  # of the word vectors' entries
    init_range: Annotated[float, Range(above=0, most=1_000)] = 0.1  # every weight starts uniform in ± this
    scorer_init_range: Annotated[float | None, Range(above=0, most=1_000)] = None  # theirs, None for the same
    # The target's word vectors are the output layer's weights, and the source's if both share a vocabulary.
    tie_embeddings: bool = False

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self))
        if self.bidirectional and self.hidden_size % 2:
            raise ValueError(f"hidden_size must be even for two directions, got {self.hidden_size}")
        if self.tie_embeddings and self.embedding_size != self.hidden_size:
            got = f"{self.embedding_size} and {self.hidden_size}"
            raise ValueError(f"tie_embeddings must have embedding_size = hidden_size, got {got}")


class Recurrent(nn.Module):
    """Layers of LSTM or GRU, left to right, with dropout between them in training."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, layers: int, dropout: float) -> None:
        super().__init__()
        sequence, self._step = CELLS[cell]
        # torch warns of a dropout that has no layers to stand between.
        between = dropout if layers > 1 else 0.0
        self.sequence = sequence(input_size, hidden_size, layers, batch_first=True, dropout=between)

    def forward(self, inputs: Tensor, start: States) -> tuple[Tensor, States]:
        """Run over ``inputs`` (rows, steps, input_size): the top layer's states, all layers' last ones."""
        outputs, last = self.sequence(inputs, join(start))
        return outputs, split(last)

    def step(self, inputs: Tensor, states: States) -> tuple[Tensor, States]:
        """Go one step on ``inputs`` (rows, input_size): the top layer's new state, and all layers'."""
        new = []
        for layer, weights in enumerate(self.sequence.all_weights):
            state = self._step(inputs, join(tuple(s[layer] for s in states)), *weights)
            new.append(split(state))
            inputs = new[-1][0]
            if layer + 1 < self.sequence.num_layers:
                inputs = nn.functional.dropout(inputs, self.sequence.dropout, self.training)
        return new[-1][0], tuple(torch.stack(kind) for kind in zip(*new, strict=True))


def split(state: Tensor | tuple[Tensor, ...]) -> States:
    """The state as a tuple, as torch gives it for an LSTM alone."""
    return state if isinstance(state, tuple) else (state,)


def join(states: States) -> Tensor | States:
    """The state as torch takes it: a tuple for an LSTM alone."""
    return states if len(states) > 1 else states[0]


class Memory(NamedTuple):
    """What the encoder leaves of b sentences: states (b, S, hidden), mask (b, 1, S), last states."""

    states: Tensor
    mask: Tensor
    last: States

    def select(self, rows: Tensor) -> Memory:
        """Keep these sentences (m,)."""
        return Memory(self.states[rows], self.mask[rows], tuple(s[:, rows] for s in self.last))


class State(NamedTuple):
    """Where the decoder stands with k hypotheses for each of b sentences.

    ``layers`` are the recurrent states, each (b, k, layers, hidden); ``fed`` is the attention's last output
    (b, k, hidden).
    """

    layers: States
    fed: Tensor

    def select(self, rows: Tensor) -> State:
        """Keep these sentences (m,)."""
        return State(tuple(s[rows] for s in self.layers), self.fed[rows])

    def reorder(self, beams: Tensor) -> State:
        """Let each new hypothesis continue the old one named in ``beams`` (b, new k)."""
        rows = torch.arange(beams.shape[0], device=beams.device).unsqueeze(-1)
        return State(tuple(s[rows, beams] for s in self.layers), self.fed[rows, beams])


class DecoderOutput(NamedTuple):
    """What the decoder made of b known targets of T tokens.

    ``outputs`` of the attention (b, T, hidden), its ``queries`` (b, T, hidden) and ``weights`` (b, T, S).
    """

    outputs: Tensor
    queries: Tensor
    weights: Tensor


class Seq2Seq(nn.Module):
    r"""Encode the source, then write the target token by token, attending over the source for each.

    With decoder state :math:`h_t` and encoder states :math:`\bar h_s`: weights
    :math:`\mathrm{mapping}(\mathrm{score}(h_t, \bar h_s))`, context c their average of the
    :math:`\bar h_s`, output :math:`\tilde h_t = \tanh(W [c; h_t])`, from which the next token is predicted
    and which, with input feeding, joins the decoder's next input (zeros at first). The decoder starts from
    the encoder's last states. Both sides may have one ``shared`` vocabulary.

    Source: Luong, Pham & Manning (2015), sections 3.1 and 3.3; Klein et al. (2017).
    """

    def __init__(
        self,
        settings: ModelSettings,
        mapping: nn.Module,
        source_size: int,
        target_size: int,
        *,
        shared: bool = False,
    ) -> None:
        super().__init__()
        hidden, embedding = settings.hidden_size, settings.embedding_size
        self.hidden_size, self.input_feed = hidden, settings.input_feed
        self.embed_target = nn.Embedding(target_size, embedding, PAD)
        tied_source = settings.tie_embeddings and shared
        self.embed_source = self.embed_target if tied_source else nn.Embedding(source_size, embedding, PAD)
        directions = 2 if settings.bidirectional else 1
        self.encoder = CELLS[settings.cell][0](
            embedding,
            hidden // directions,
            settings.layers,
            batch_first=True,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
            bidirectional=settings.bidirectional,
        )
        decoder_input = embedding + (hidden if settings.input_feed else 0)
        self.decoder = Recurrent(settings.cell, decoder_input, hidden, settings.layers, settings.dropout)
        self.attention = Attention(SCORERS[settings.scorer](hidden), mapping)
        self.combine = nn.Linear(2 * hidden, hidden, bias=False)
        self.predict = nn.Linear(hidden, target_size)
        self.dropout = nn.Dropout(settings.dropout)
        self.embedding_dropout = nn.Dropout(settings.embedding_dropout)
        strengths = set(mapping.parameters())  # where it learns some, they start as they are given
        scorer = set(self.attention.scorer.parameters())
        for weight in (weight for weight in self.parameters() if weight not in strengths):
            own = settings.scorer_init_range if weight in scorer else None
            bound = settings.init_range if own is None else own
            nn.init.uniform_(weight, -bound, bound)
        for embedded in (self.embed_source, self.embed_target):
            nn.init.zeros_(embedded.weight[PAD])
        if settings.tie_embeddings:
            self.predict.weight = self.embed_target.weight

    @property
    def device(self) -> torch.device:
        return self.predict.weight.device

    def encode(self, source: Tensor, lengths: Tensor) -> Memory:
        """Read sources (b, S), padded with ``PAD``; lengths (b,) on the CPU."""
        inputs = self.embedding_dropout(self.embed_source(source))
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        states, last = self.encoder(packed)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=source.shape[1])
        return Memory(states, (source != PAD).unsqueeze(1), tuple(map(self._join_directions, split(last))))

    def start(self, memory: Memory) -> State:
        """The decoder before the first token, one hypothesis for each sentence."""
        layers = tuple(s.permute(1, 0, 2).unsqueeze(1) for s in memory.last)
        return State(layers, memory.states.new_zeros(len(memory.states), 1, self.hidden_size))

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, Tensor, State]:
        """Write one token more behind ``tokens`` (b, k), the begin of a sequence at first.

        Returns:
            Log-probabilities (b, k, vocabulary), attention weights (b, k, S), the next state.
        """
        rows, beams = tokens.shape
        inputs = self._inputs(self.embed_target(tokens), state.fed).flatten(0, 1)
        layers = tuple(s.flatten(0, 1).transpose(0, 1) for s in state.layers)
        top, layers = self.decoder.step(inputs, layers)
        output, weights = self._attend(top.view(rows, beams, -1), memory)
        layers = tuple(s.transpose(0, 1).unflatten(0, (rows, beams)) for s in layers)
        return self.predict(output).float().log_softmax(-1), weights, State(layers, output)

    def teacher_forced(self, targets: Tensor, memory: Memory) -> DecoderOutput:
        """Go through known targets (b, T), the first of their tokens being the begin."""
        embedded = self.embedding_dropout(self.embed_target(targets))
        if not self.input_feed:
            queries, _ = self.decoder(embedded, tuple(s.contiguous() for s in memory.last))
            outputs, weights = self._attend(queries, memory)
            return DecoderOutput(outputs, queries, weights)
        layers = memory.last
        output = memory.states.new_zeros(len(targets), 1, self.hidden_size)
        steps = []
        for word in embedded.unbind(1):
            query, layers = self.decoder.step(self._inputs(word, output.squeeze(1)), layers)
            output, weights = self._attend(query.unsqueeze(1), memory)
            steps.append(DecoderOutput(output, query.unsqueeze(1), weights))
        return DecoderOutput(*(torch.cat(parts, 1) for parts in zip(*steps, strict=True)))

    def forward(self, source: Tensor, lengths: Tensor, targets: Tensor) -> tuple[DecoderOutput, Memory]:
        """Read sources and targets; logits are ``predict`` of the outputs."""
        memory = self.encode(source, lengths)
        return self.teacher_forced(targets, memory), memory

    def _inputs(self, embedded: Tensor, fed: Tensor) -> Tensor:
        return torch.cat([embedded, fed], -1) if self.input_feed else embedded

    def _attend(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Outputs (b, k, hidden) and weights (b, k, S) for queries (b, k, hidden)."""
        context, weights = self.attention(queries, memory.states, mask=memory.mask)
        output = torch.tanh(self.combine(torch.cat([context, queries], -1)))
        return self.dropout(output), weights

    def _join_directions(self, last: Tensor) -> Tensor:
        """(layers × directions, b, size) to (layers, b, hidden)."""
        layers, batch = self.encoder.num_layers, last.shape[1]
        return last.view(layers, -1, batch, last.shape[2]).transpose(1, 2).reshape(layers, batch, -1)
