"""What a mapping costs in training: seconds of an epoch, on machines that can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from scripts.cells import Cell, Table
from scripts.columns import MAPPINGS, UNKNOWN
from scripts.comparing.measured import corpus_label, ids, spread_cell
from scripts.comparing.selection import Row, Runs
from scripts.comparing.significance import spread
from tasks.training.records import Record

Machine = tuple[str, int]
_BASELINE = "softmax"


def machine(record: Record) -> Machine:
    """What times depend on and records know: device and threads."""
    return record.device, record.threads


def epoch_ratios(a: Runs, b: Runs) -> list[float]:
    """How long an epoch takes in every run of ``a`` to one in every run of ``b``, of those of one machine.

    From the mapping's share of a step, all else in it taking the same time. The clock would not do: runs
    share their machine with whatever else it does, which may cost some of them half their speed.

    Where there are several machines, of that with most runs; none without one that both ran on.
    """
    shared = {machine(record) for record in a} & {machine(record) for record in b}
    by_machine = [
        [
            (1 - second.seconds["mapping_share"]) / (1 - first.seconds["mapping_share"])
            for first, second in product(a, b)
            if machine(first) == machine(second) == on
        ]
        for on in sorted(shared)
    ]
    return max(by_machine, key=len, default=[])


def cost_table(tier: str, rows: Mapping[str, Row]) -> Table:
    """Time of an epoch and in the mapping, of every task with runs at a tier.

    Args:
        tier: of the runs.
        rows: table of the paper → the runs of its cells at that tier.
    """
    lines = [line for row in rows.values() for line in _lines(row)]
    return Table(
        name=f"cost-{tier}",
        title=f"Cost of training, tier {tier}",
        intro="Seconds of an epoch, training alone, of the fastest run: what else a shared machine does only "
        "ever adds to them. The runs of a corpus are compared on one device with as many threads.",
        heads=(
            "corpus", "device", "mapping", "s / epoch, fastest", "to softmax", "s / epoch, slowest",
            "time in the mapping, %", "tokens / s, fastest", "runs",
        ),
        rows=tuple(lines),
        notes=(
            "Runs may have shared their machine with others: differences smaller than those between fastest "
            "and slowest say nothing. Time in the mapping: its share of a training step, measured apart.",
        ),
    )  # fmt: skip


def _lines(row: Row) -> Iterator[tuple[Cell, ...]]:
    machines = sorted({machine(record) for runs in row.values() for record in runs})
    for on, mapping in product(machines, MAPPINGS):
        mine, baseline = (
            [record for record in row.get(name, ()) if machine(record) == on] for name in (mapping, _BASELINE)
        )
        if mine:
            yield _line(mine, baseline)


def _line(mine: Runs, baseline: Runs) -> tuple[Cell, ...]:
    record = mine[0]
    seconds = [one.seconds["per_epoch"] for one in mine]
    tokens = max(one.tokens_per_second for one in mine)
    share = spread([100 * one.seconds["mapping_share"] for one in mine])
    return (
        Cell(corpus_label(record)),
        Cell(f"{record.device}, {record.threads} thread{'s' if record.threads > 1 else ''}"),
        Cell(record.mapping),
        Cell(f"{min(seconds):.1f}", min(seconds), ids(mine)),
        _ratio_cell(mine, baseline),
        Cell(f"{max(seconds):.1f}", max(seconds), ids(mine)),
        spread_cell(share, mine, digits=1),
        Cell(f"{tokens:,.0f}", tokens, ids(mine)),
        Cell(str(len(mine)), float(len(mine)), ids(mine)),
    )


def _ratio_cell(mine: Runs, baseline: Runs) -> Cell:
    if not baseline:
        return Cell(UNKNOWN)
    fastest = [min(record.seconds["per_epoch"] for record in runs) for runs in (mine, baseline)]
    ratio = fastest[0] / fastest[1]
    return Cell(f"{ratio:.2f}", ratio, ids(mine, baseline))
