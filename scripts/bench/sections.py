"""The sections on speed: shape by shape, against the length, against λ, and on rows made to be hard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from scripts.bench.agreement import Agreement, difference, violation
from scripts.bench.contestants import UNIT, Contestant, Field, assemble
from scripts.bench.peers import Calls
from scripts.bench.plan import Course
from scripts.bench.race import Work, draw, moved_bytes, race, summarize, threads

Section = dict[str, Any]
DIRECTIONS = ("forward", "both")
_TURNS = 5  # of each number of threads
ALONG = {"scale": 1.0, "threads": 1, "direction": "both"}  # where something else than the shape changes


def shapes(course: Course) -> Section:
    """Every shape, scale, dtype, direction and number of threads."""
    cells: list[Section] = []
    fields: dict[str, Field] = {}
    agreement = Agreement()
    for dtype in course.plan.dtypes:
        contestants = fields.setdefault(_name(dtype), assemble(course.device, dtype)).contestants
        for rows, d in course.plan.shapes:
            for scale in course.plan.scales:
                pairs = draw(rows, d, scale, dtype, course.device)
                agreement.check(contestants, *pairs[0], f"{rows}×{d}, scale {scale:g}, {_name(dtype)}")
                for count in course.threads:
                    for direction in DIRECTIONS:
                        place = {"scale": scale, "threads": count, "direction": direction}
                        cells.append(_cell(course, contestants, pairs, place))
    return _section(cells, fields, agreement)


def length(course: Course) -> Section:
    """Forward and backward of about equally many scores, in rows of any length; one thread, scale 1."""
    dtype, agreement, cells = torch.float32, Agreement(), []
    field = assemble(course.device, dtype)
    for d in course.plan.lengths:
        pairs = draw(course.plan.rows(d), d, 1.0, dtype, course.device)
        agreement.check(field.contestants, *pairs[0], f"d = {d}")
        cells.append(_cell(course, field.contestants, pairs, ALONG))
    return _section(cells, {"float32": field}, agreement)


def strength(course: Course) -> Section:
    """Forward and backward of the two mappings with a λ; one thread, scale 1."""
    dtype, agreement, cells = torch.float32, Agreement(), []
    pairs = draw(*course.plan.strengths_shape, 1.0, dtype, course.device)
    fields: dict[str, Field] = {}
    for lam in course.plan.strengths:
        field = assemble(course.device, dtype, lam=lam, families=("fusedmax", "oscarmax"))
        fields[f"λ = {lam:g}"] = field
        agreement.check(field.contestants, *pairs[0], f"λ = {lam:g}")
        cells.append({"lam": lam, **_cell(course, field.contestants, pairs, ALONG)})
    return _section(cells, fields, agreement)


def scaling(course: Course) -> Section:
    """Forward and backward with each number of threads, ours and PyTorch's own; scale 1.

    Every number of threads has its turn several times; within a turn all take turns, so that everyone finds
    the caches as others leave them and PyTorch's threads as awake as its own operators do.
    """
    counts = course.threads if len(course.threads) > 1 else ()
    field = assemble(course.device, torch.float32, name="")
    cells = []
    for rows, d in course.plan.shapes if counts else ():
        works = _works(field.contestants, draw(rows, d, 1.0, torch.float32, course.device), "both")
        times: dict[str, dict[int, list[float]]] = {name: {n: [] for n in counts} for name in works}
        for _ in range(_TURNS):
            for count in counts:
                with threads(count):
                    turn = race(works, course.clock, course.plan.turn, keen=works, unit=UNIT)
                for name, seconds in turn.items():
                    times[name][count] += seconds.values()
        results = {
            name: {str(n): {"seconds": median(t), "rounds": len(t)} for n, t in found.items()}
            for name, found in times.items()
        }
        cells.append({"rows": rows, "d": d, "dtype": "float32", "results": results})
    return _section(cells, {"float32": field}, Agreement())


def adversarial(course: Course) -> Section:
    """Long rows made to be hard, as time over that of random rows of the same shape; forward, one thread."""
    rows, d = course.plan.adversarial
    field = assemble(course.device, torch.float32)
    raced = [c for c in field.contestants if c.family]
    batches = {name: hard.to(course.device) for name, hard in hard_rows(rows, d).items()}
    cells = []
    for contestant in raced:
        calls = {name: contestant.bind(scores, torch.ones_like(scores)) for name, scores in batches.items()}
        works: dict[str, Sequence[Work]] = {name: [call.forward] for name, call in calls.items()}
        with threads(1):
            seconds = race(works, course.clock, course.plan.pace, keen=works, unit="random")
        summaries = {name: summarize(times, seconds["random"]) for name, times in seconds.items()}
        proofs = {name: _proof(contestant, batches[name], call) for name, call in calls.items()}
        results = {name: {**summaries[name], **proof} for name, proof in proofs.items()}
        cells.append({"rows": rows, "d": d, "contestant": contestant.name, "results": results})
    return _section(cells, {"float32": field}, Agreement())


def hard_rows(rows: int, d: int) -> dict[str, Tensor]:
    """Scores on which a solver may be slow, at λ = 0.1; and random ones."""
    dice = torch.Generator().manual_seed(d)
    noise = torch.randn(rows, d, generator=dice)
    ascending = noise.sort(-1).values
    sign = torch.where(torch.arange(d) % 2 == 0, 1.0, -1.0).expand(rows, d)
    # Condat's algorithm looks ahead until its tube of width 2λ is left, and returns to the last touch: on
    # a ramp this gentle it looks about d/4 ahead for each score that it settles, quadratic in all.
    ramp = torch.arange(d).expand(rows, d) * (16 * 0.1 / (d / 4) ** 2)
    return {
        "random": noise,
        "all within 1 + 4λ": torch.rand(rows, d, generator=dice) * 1.4,
        "ascending": ascending,
        "descending": ascending.flip(-1).contiguous(),
        "alternating": sign.contiguous(),
        "gentle ramp": ramp.contiguous(),
        "all equal": torch.zeros(rows, d),
    }


def _cell(
    course: Course,
    contestants: Iterable[Contestant],
    pairs: Sequence[tuple[Tensor, Tensor]],
    place: dict[str, Any],
) -> Section:
    """Time everyone at one place."""
    contestants = list(contestants)
    works = _works(contestants, pairs, place["direction"])
    keen = {c.name for c in contestants if c.origin != "peer"}
    with threads(place["threads"]):
        seconds = race(works, course.clock, course.plan.pace, keen=keen, unit=UNIT)
    scores = pairs[0][0]
    rows, d = scores.shape
    return {
        "rows": rows,
        "d": d,
        "dtype": _name(scores.dtype),
        **place,
        "bytes": moved_bytes(rows, d, scores.dtype, place["direction"]),
        "results": {name: summarize(times, seconds[UNIT]) for name, times in seconds.items()},
    }


def _works(
    contestants: Iterable[Contestant], pairs: Sequence[tuple[Tensor, Tensor]], direction: str
) -> dict[str, Sequence[Work]]:
    """For each contestant a call for each pair of scores and gradient."""
    works: dict[str, Sequence[Work]] = {}
    for contestant in contestants:
        calls = [contestant.bind(*pair) for pair in pairs]
        works[contestant.name] = [call.forward if direction == "forward" else call.both for call in calls]
    return works


def _section(cells: list[Section], fields: dict[str, Field], agreement: Agreement) -> Section:
    """Everyone who took part in any of the fields, and who was missing from which."""
    contestants = {c.name: c for field in fields.values() for c in field.contestants}
    skipped = {
        name if name not in contestants else f"{name} at {where}": reason
        for where, field in fields.items()
        for name, reason in field.skipped.items()
    }
    return {
        "contestants": {
            name: {"origin": c.origin, "family": c.family, "says": c.says} for name, c in contestants.items()
        },
        "skipped": skipped,
        "agreement": agreement.found,
        "cells": cells,
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _proof(contestant: Contestant, scores: Tensor, calls: Calls) -> dict[str, float]:
    """How far from right: ours by the certificate, which asks no solver; the others by ours in float64.

    The certificate takes weights that differ by rounding alone for different groups, which ours never has.
    """
    # One row, since the certificate is quadratic in d for fusedmax.
    scores, weights = scores[:1], calls.forward()[:1]
    if contestant.origin == "ours":
        return {"violation": violation(contestant.family, scores, weights, contestant.lam)}
    return {"difference": difference(contestant, scores, weights)}
