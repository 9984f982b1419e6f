"""groups tells which positions the penalty tied, from the solver's own integers."""

from __future__ import annotations

import pytest
import torch

import regattn
from regattn import groups


def partition(labels: torch.Tensor) -> list[list[int]]:
    """Positions of each group, outside the support left out."""
    return [(labels == k).nonzero().flatten().tolist() for k in labels.unique() if k > 0]


def test_by_hand():
    x = torch.tensor([1.0, 2.1, 1.9, -3.0, 2.0])
    assert partition(groups(x, regattn.fusedmax, lam=0.1)) == [[1, 2], [4]]
    assert partition(groups(x, regattn.oscarmax, lam=0.2)) in ([[1, 2, 4]], [[1, 4, 2]])
    assert partition(groups(x, regattn.sparsemax, gamma=4.0)) == [[0], [1], [2], [4]]
    assert partition(groups(x, regattn.fusedmax, lam=0.0)) == partition(groups(x, regattn.sparsemax))


def test_equal_by_chance_is_no_group():
    """The two ends have equal weights, but the penalty joins neighbours only."""
    x = torch.tensor([1.0, 0.2, 1.0], dtype=torch.float64)
    y, labels = regattn.fusedmax(x, lam=0.05), groups(x, regattn.fusedmax, lam=0.05)
    assert y[0] == y[2] and labels[0] != labels[2]
    assert len(partition(groups(torch.zeros(3), regattn.sparsemax))) == 3


@pytest.mark.parametrize("mapping", [regattn.fusedmax, regattn.oscarmax])
def test_support_and_shared_weights(mapping):
    x = torch.randn(300, 8, dtype=torch.float64)
    y, labels = mapping(x, lam=0.1), groups(x, mapping, lam=0.1)
    assert labels.dtype == torch.int64
    assert ((y > 0) == (labels > 0)).all()
    same = labels.unsqueeze(-1) == labels.unsqueeze(-2)
    equal = y.unsqueeze(-1) == y.unsqueeze(-2)
    assert (equal | ~same | (labels == 0).unsqueeze(-1)).all()
    if mapping is regattn.fusedmax:
        for row in labels[:50]:
            assert all(run == list(range(run[0], run[-1] + 1)) for run in partition(row))


def test_modules_dims_and_masks():
    x, mask = torch.randn(5, 4, dtype=torch.float64), torch.rand(5, 4) > 0.3
    module = regattn.Fusedmax(0, gamma=0.5, lam=0.2)
    labels = groups(x, module, 0, mask=mask)
    assert labels.shape == x.shape and (labels[~mask] == 0).all()
    assert ((module(x, mask) > 0) == (labels > 0)).all()
    for mapping in (regattn.PNormmax(), regattn.Softmax()):
        labels = groups(x, mapping, mask=mask)
        assert ((mapping(x, mask) > 0) == (labels > 0)).all()


def test_refuses_what_the_mapping_refuses():
    with pytest.raises(ValueError, match="lam must be finite and at least 0"):
        groups(torch.randn(3), regattn.fusedmax, lam=-1.0)
    with pytest.raises(TypeError, match="floating-point"):
        groups(torch.arange(3), regattn.oscarmax)
