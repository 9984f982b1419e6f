"""What runs say of a claim, and never more than they do."""

from __future__ import annotations

from scripts.cells import Table
from scripts.comparing.paper import Claim
from scripts.comparing.significance import LEVEL
from tasks.bootstrap import Comparison

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"


def on_scores(claim: Claim, found: Comparison | None, p: float | None, seeds: int) -> str:
    """The verdict on a claim about the scores of two mappings.

    Args:
        claim: ``greater`` or ``within``.
        found: a against b; None where runs kept no item scores.
        p: its p-value, corrected for the number of claims.
        seeds: how many there are of the mapping with fewer.

    Example:
        >>> claim = Claim("c", "a beats b", "stated", "greater")
        >>> on_scores(claim, Comparison(1.0, 0.4, 1.6, 0.001), 0.01, seeds=5)
        'reproduced'
        >>> on_scores(claim, Comparison(1.0, -0.4, 2.4, 0.2), 1.0, seeds=5)
        'undecided at n = 5 seeds'
    """
    if found is None or p is None:
        return f"{UNDECIDED} at {_seeds(seeds)}: these runs kept no scores of single items"
    outcome = _outcome(claim, found) if p <= LEVEL else ""
    if seeds > 1:
        return outcome or f"{UNDECIDED} at {_seeds(seeds)}"
    alone = f"would say {outcome}" if outcome else "do not decide it either"
    return f"{UNDECIDED} at {_seeds(seeds)}: seeds were not varied; the test items alone {alone}"


def on_time(claim: Claim, ratios: list[float], seeds: int) -> str:
    """The verdict on a claim that epochs of two mappings take the same time.

    Args:
        claim: ``same_time``.
        ratios: of the seconds of every run of the one to those of every run of the other.
        seeds: how many runs there are of the mapping with fewer.

    Example:
        >>> claim = Claim("c", "they take the same time", "stated", "same_time", margin=0.1)
        >>> on_time(claim, [0.97, 1.02, 1.05], seeds=3), on_time(claim, [1.0, 1.3], seeds=2)
        ('reproduced', 'undecided at n = 2 seeds')
    """
    if seeds > 1:
        inside = [1 / (1 + claim.margin) <= ratio <= 1 + claim.margin for ratio in ratios]
        if all(inside):
            return REPRODUCED
        if not any(inside) and (min(ratios) > 1 or max(ratios) < 1):
            return NOT_REPRODUCED
    return f"{UNDECIDED} at {_seeds(seeds)}"


def tally(claims: Table) -> str:
    """How many comparisons of a table of claims have each verdict, in words.

    Example:
        >>> from scripts.cells import Cell
        >>> rows = tuple((Cell(text),) for text in ("reproduced", "undecided at n = 2 seeds", "no runs"))
        >>> tally(Table("claims-small", "Claims", "", ("verdict",), rows))
        '2 comparisons: 1 reproduced, none not reproduced, 1 undecided'
    """
    texts = [row[-1].text for row in claims.rows]
    verdicts = (REPRODUCED, NOT_REPRODUCED, UNDECIDED)
    counts = {verdict: sum(text.startswith(verdict) for text in texts) for verdict in verdicts}
    listed = ", ".join(f"{count or 'none'} {verdict}" for verdict, count in counts.items())
    total = sum(counts.values())
    return f"{total} comparison{'' if total == 1 else 's'}: {listed}"


def _outcome(claim: Claim, found: Comparison) -> str:
    """What a significant difference means; nothing where it is within the margin and its interval is not."""
    if claim.relation == "greater":
        return REPRODUCED if found.difference > 0 else NOT_REPRODUCED
    if -claim.margin < found.low and found.high < claim.margin:
        return REPRODUCED
    outside = found.low >= claim.margin or found.high <= -claim.margin
    return NOT_REPRODUCED if outside else ""


def _seeds(count: int) -> str:
    return f"n = {count} seed{'s' if count != 1 else ''}"
