"""Fenchel–Young losses of class indices: value and weights of a row in one look at its scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from regattn.kernels.cpu import run_rows, working_rows
from regattn.kernels.cpu.compiling import kernel
from regattn.kernels.cpu.entmax import power_shares
from regattn.kernels.cpu.powers import DOUBLE, exp_of, log_of
from regattn.kernels.cpu.screening import BAD, NO_MASK, SPARE, fill, scan_row, within_reach
from regattn.kernels.cpu.sparsemax import add_up, threshold

_NEAR = 1e-3  # exponents below it have a power series of four terms


@kernel
def loss_rows(start, stop, scores, targets, of_norm, gamma, alpha, losses, counts, members, shares):
    """max_Ω(x) − x_c + γΩ(e_c) of entmax, or of normmax if ``of_norm``, 1 < α ≤ 2 for entmax.

    Nothing is computed where the target is below 0. The first ``counts`` entries of ``members`` and
    ``shares`` are the positions in the support and their weights; nothing after these is written.
    """
    d = scores.shape[1]
    z, key = np.empty(d + SPARE), np.empty(d + SPARE)
    index, item = np.empty(d + SPARE, np.int64), np.empty(d + SPARE, np.int64)
    eps = alpha - 1.0
    e = 1.0 / eps
    for r in range(start, stop):
        losses[r], counts[r] = 0.0, 0
        if targets[r] < 0:
            continue
        state, top = scan_row(scores, NO_MASK, False, r, True)
        if state <= 0:
            losses[r] = np.nan if state == BAD else 0.0
            counts[r] = -1 if state == BAD else 0
            continue
        if alpha == 2.0 and not of_norm:
            n, _ = within_reach(scores, NO_MASK, False, state, r, top, gamma, 1.0, index, None, z)
            tau = threshold(z, None, n, -1.0 - 1e-15, key, item)
            for k in range(n):
                z[k] = max(z[k] - tau, 0.0)
        else:
            scale, m = (1.0, e + 1.0) if of_norm else (eps, e)
            n = power_shares(scores, NO_MASK, False, state, r, top, gamma, scale, m, e, index, z, key)
        per_total = 1.0 / add_up(z, 0, n)
        inner = omega = 0.0
        count = 0
        for k in range(n):
            weight = z[k] * per_total
            if weight > 0.0:
                members[r, count], shares[r, count] = index[k], weight
                count += 1
                inner += weight * (np.float64(scores[r, index[k]]) - top)
                log = log_of(max(weight, np.finfo(np.float64).tiny), 0.0, DOUBLE)
                a = eps * log
                if of_norm:
                    omega += exp_of(alpha * log, DOUBLE)
                elif a > -_NEAR:
                    omega += weight * log * (1.0 + a / 2.0 + a * a / 6.0 + a * a * a / 24.0)
                else:
                    omega += weight * (exp_of(a, DOUBLE) - 1.0) * e
        counts[r] = count
        omega = omega ** (1.0 / alpha) - 1.0 if of_norm else omega / alpha
        losses[r] = inner - gamma * omega - (np.float64(scores[r, targets[r]]) - top)


@kernel
def gradient_rows(start, stop, incoming, targets, counts, members, shares, output):
    """(weights − e_c) times what comes in for a row."""
    for r in range(start, stop):
        g, count = incoming[r], counts[r]
        fill(output[r], np.nan if count < 0 else 0.0)
        for k in range(count):
            output[r, members[r, k]] = g * shares[r, k]
        if count > 0:
            output[r, targets[r]] -= g


Found = tuple[Tensor, Tensor, Tensor]


def class_loss(
    scores: Tensor, targets: Tensor, of_norm: bool, gamma: float, alpha: float
) -> tuple[Tensor, Found]:
    """Loss of each row of scores (rows, d), and what its gradient is made of."""
    x, count = working_rows(scores), scores.shape[0]
    losses = torch.empty(count, dtype=x.dtype)
    counts = torch.empty(count, dtype=torch.int32)
    members, shares = torch.empty(x.shape, dtype=torch.int32), torch.empty(x.shape, dtype=x.dtype)
    found = counts, members, shares
    arrays = losses.numpy(), *(t.numpy() for t in found)
    run_rows(loss_rows, count, x.numel(), x.numpy(), targets.numpy(), of_norm, gamma, alpha, *arrays)
    return losses.to(scores.dtype), found


def class_gradient(incoming: Tensor, targets: Tensor, found: Found) -> Tensor:
    g = incoming.to(found[2].dtype).contiguous()
    output = torch.empty_like(found[2])
    arrays = (t.numpy() for t in (g, targets, *found, output))
    run_rows(gradient_rows, len(g), output.numel(), *arrays)
    return output
