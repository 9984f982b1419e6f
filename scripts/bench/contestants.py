"""Who takes part: ours, torch.softmax as the unit, a plain copy as the floor, and the peers that load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

import regattn
from scripts.bench.peers import PEERS, Calls, torch_calls
from scripts.bench.words import FAMILIES

UNIT = "torch.softmax"
FLOOR = "copy of the same bytes"
DEFAULT_LAM = {"fusedmax": 0.1, "oscarmax": 0.01}
_P = 1.5


@dataclass(frozen=True)
class Contestant:
    """One way to compute a mapping.

    Args:
        name: unique.
        origin: unit, floor, ours or peer.
        family: the mapping of ours that solves the same problem, which it is checked against; "" for none.
        bind: scores (a leaf) and the gradient of the weights to the two calls that are timed.
        lam: strength, for the two mappings that have one.
        says: what it computes and how, where the name does not say it.
    """

    name: str
    origin: Literal["unit", "floor", "ours", "peer"]
    family: str
    bind: Callable[[Tensor, Tensor], Calls]
    lam: float | None = None
    says: str = ""

    def reference(self, scores: Tensor) -> Tensor:
        """Our own answer to the same problem, on the CPU in the dtype given."""
        return our_function(self.family, self.lam)(scores)


class Field(NamedTuple):
    """Those who take part, and for the others a word why not."""

    contestants: list[Contestant]
    skipped: dict[str, str]


def our_function(family: str, lam: float | None = None) -> partial[Tensor]:
    """Our public function with the parameters of the benchmark."""
    strengths = {"lam": lam} if lam is not None else {"p": _P} if family == "pnormmax" else {}
    return partial(getattr(regattn, family), **strengths)


def assemble(
    device: torch.device,
    dtype: torch.dtype,
    *,
    lam: float | None = None,
    families: Sequence[str] = FAMILIES,
    name: str | None = None,
) -> Field:
    """Everyone of these families who can answer a small question on ``device``.

    Args:
        device: where the scores are.
        dtype: of the scores.
        lam: strength instead of the defaults.
        families: whom to ask; torch.softmax and the copy always take part.
        name: the only peer to ask, so that no other package is loaded.
    """
    found = [
        Contestant(UNIT, "unit", "softmax", torch_calls(partial(torch.softmax, dim=-1))),
        Contestant(FLOOR, "floor", "", _copy, says="what reading and writing as many bytes takes"),
    ]
    skipped: dict[str, str] = {}
    for family in filter(None, families):
        strength = DEFAULT_LAM.get(family) if lam is None else lam
        bind = torch_calls(our_function(family, strength))
        found.append(Contestant(f"regattn.{family}", "ours", family, bind, strength))
    for peer in PEERS:
        if peer.family in families and name in (None, peer.name):
            strength = DEFAULT_LAM.get(peer.family) if lam is None else lam
            try:
                bind = peer.load(strength)
            except (ImportError, OSError, RuntimeError) as error:  # missing, or built for another machine
                skipped[peer.name] = _first_line(error)
            else:
                found.append(Contestant(peer.name, "peer", peer.family, bind, strength, peer.says))
    for contestant in list(found):
        reason = _refusal(contestant, device, dtype)
        if reason and contestant.origin != "unit":
            found.remove(contestant)
            skipped[contestant.name] = reason
    return Field(found, skipped)


def _refusal(contestant: Contestant, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a contestant cannot take part, or None. Any error of another package is such a reason."""
    scores = torch.linspace(-1, 1, 16).reshape(2, 8).to(device, dtype)
    try:
        calls = contestant.bind(scores.requires_grad_(), torch.ones_like(scores))
        calls.forward()
        calls.both()
    except Exception as error:
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]


def _copy(scores: Tensor, gradient: Tensor) -> Calls:
    """Copies that move as many bytes as a mapping must: see :func:`scripts.bench.race.moved_bytes`."""
    count = scores.numel()
    source = torch.ones(count * 5 // 2, dtype=scores.dtype, device=scores.device)
    target = torch.empty_like(source)
    return Calls(lambda: target[:count].copy_(source[:count]), lambda: target.copy_(source))
