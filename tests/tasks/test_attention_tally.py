"""Statistics of attention rows, against plain loops."""

import math
from itertools import groupby

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import regattn
from tasks.attention import AttentionTally


def tallied(*batches: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> dict[str, float]:
    tally = AttentionTally()
    for batch in batches:
        tally.add(*batch)
    return tally.metrics()


def test_a_row_by_hand() -> None:
    weights = torch.tensor([[0.125, 0.125, 0.25, 0.0, 0.125, 0.375, 0.0, 0.0]])
    mask = torch.tensor([[True] * 7 + [False]])
    groups = torch.tensor([[1, 1, 3, 0, 1, 2, 0, 0]])
    metrics = tallied((weights, mask, groups))
    assert metrics["zero_share"] == pytest.approx(2 / 7)
    assert metrics["support_runs"] == 2
    assert metrics["segments"] == 4  # the group 1 has two segments
    assert metrics["segment_length"] == 5 / 4
    assert metrics["groups"] == 3
    assert metrics["group_size"] == pytest.approx(5 / 3)
    expected = -3 * 0.125 * math.log(0.125) - 0.25 * math.log(0.25) - 0.375 * math.log(0.375)
    assert metrics["entropy"] == pytest.approx(expected)


def loop(rows: list[tuple[list[float], list[bool], list[int]]]) -> dict[str, float]:
    """The definitions, row by row and position by position."""
    rows = [row for row in rows if any(row[1])]
    zero_share, runs, segments, groups, entropy = 0.0, 0, [], [], 0.0
    for weights, mask, labels in rows:
        allowed = [weight for weight, keep in zip(weights, mask, strict=True) if keep]
        zero_share += allowed.count(0.0) / len(allowed)
        runs += sum(1 for inside, _ in groupby(weights, lambda weight: weight > 0) if inside)
        segments += [len(list(members)) for label, members in groupby(labels) if label]
        groups += [labels.count(label) for label in set(labels) if label]
        entropy -= sum(weight * math.log(weight) for weight in weights if weight)
    if not rows:
        return {}
    some = [row for row in rows if sum(row[1]) > 1]
    size = [sum(weight > 0 for weight in weights) for weights, _, _ in some]
    one_group = [len(set(labels) - {0}) == 1 for *_, labels in some]
    seen = {
        "one_word_share": [n == 1 for n in size],
        "peaked_share": [max(weights) > 0.99 for weights, _, _ in some],
        "fused_share": [one and n == sum(row[1]) for one, n, row in zip(one_group, size, some, strict=True)],
        "zero_gradient_share": one_group,
    }
    sums = {"zero_share": zero_share, "support_runs": runs, "entropy": entropy}
    means = {name: total / len(rows) for name, total in sums.items()}
    for name, mean_size, sizes in (
        ("segments", "segment_length", segments),
        ("groups", "group_size", groups),
    ):
        means[name] = len(sizes) / len(rows)
        if sizes:
            means[mean_size] = sum(sizes) / len(sizes)
    return means | {name: sum(rows) / len(rows) for name, rows in seen.items() if rows}


@st.composite
def attention(draw: st.DrawFn) -> list[tuple[list[float], list[bool], list[int]]]:
    width = draw(st.integers(1, 7))
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        mask = draw(st.lists(st.booleans(), min_size=width, max_size=width))
        labels = [draw(st.integers(0, 3)) * keep for keep in mask]
        weights = [[0.0, 0.125, 0.25, 0.3][label] for label in labels]
        rows.append((weights, mask, labels))
    return rows


@given(st.lists(attention(), max_size=3))
def test_batches_give_what_a_loop_over_rows_gives(
    batches: list[list[tuple[list[float], list[bool], list[int]]]],
) -> None:
    tensors = []
    for rows in filter(None, batches):
        weights, masks, labels = zip(*rows, strict=True)
        tensors.append((torch.tensor(weights), torch.tensor(masks), torch.tensor(labels)))
    assert tallied(*tensors) == pytest.approx(loop([row for rows in batches for row in rows]), abs=1e-6)


@pytest.mark.parametrize("mapping", [regattn.Softmax(), regattn.Fusedmax(lam=0.3), regattn.Oscarmax(lam=0.2)])
def test_rows_of_the_mappings(mapping: torch.nn.Module) -> None:
    scores = torch.randn(50, 9, generator=torch.Generator().manual_seed(1)) * 1.5
    mask = torch.arange(9) < torch.arange(50)[:, None] % 10  # (50, 9); some rows have nothing left
    weights, groups = mapping(scores, mask=mask), regattn.groups(scores, mapping, mask=mask)
    metrics = tallied((weights, mask, groups))
    rows = list(zip(weights.tolist(), mask.tolist(), groups.tolist(), strict=True))
    assert metrics == pytest.approx(loop(rows))
    if isinstance(mapping, regattn.Softmax):
        assert metrics["zero_share"] == 0 and metrics["support_runs"] == 1
        assert metrics["segment_length"] == metrics["group_size"] == 1
    else:
        assert metrics["zero_share"] > 0.1 and metrics["group_size"] > 1.1
    if isinstance(mapping, regattn.Fusedmax):  # fuses neighbours only
        assert metrics["segments"] == metrics["groups"] > metrics["support_runs"]
    if isinstance(mapping, regattn.Oscarmax):
        assert metrics["segments"] > metrics["groups"]


@pytest.mark.parametrize(
    "spec",
    [spec for spec in regattn.MAPPINGS.values() if spec.omega],  # others fuse what no structure tells
    ids=lambda spec: spec.name,
)
@pytest.mark.parametrize("scale", [0.05, 1.0, 5.0])
def test_rows_that_send_no_gradient_are_counted_as_such(spec: regattn.MappingSpec, scale: float) -> None:
    scores = scale * torch.randn(200, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scores.requires_grad_()
    weights = spec.function(scores)
    (weights * torch.randn(9, generator=torch.Generator().manual_seed(2))).sum().backward()
    silent = (scores.grad == 0).all(-1).double().mean().item()
    metrics = tallied((weights, torch.ones_like(weights).bool(), regattn.groups(scores, spec.function)))
    assert metrics["zero_gradient_share"] == pytest.approx(silent)


def test_rows_masked_everywhere_do_not_count() -> None:
    nothing = torch.zeros(2, 3)
    assert tallied((nothing, nothing.bool(), nothing.long())) == {}


def test_a_weight_behind_the_mask_is_noticed() -> None:
    for weights, groups in ((torch.ones(1, 3), torch.zeros(1, 3)), (torch.zeros(1, 3), torch.ones(1, 3))):
        with pytest.raises(AssertionError):
            AttentionTally().add(weights, torch.zeros(1, 3).bool(), groups.long())
