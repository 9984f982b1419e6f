"""What follows from the groups of a solution: its derivative, and its labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from regattn.kernels.cpu import like, run_rows, strength_array, working_rows
from regattn.kernels.cpu.compiling import inlined, kernel, reordered_sum
from regattn.kernels.cpu.screening import INVALID, LONG, fill, look_ahead, strength_of
from regattn.kernels.cpu.sparsemax import add_up


@reordered_sum
def _sum_of_members(direction, structure, r, i, j):
    row, entries, total = direction[r], structure[r, 2 + i : 2 + j], 0.0
    for k in range(entries.size):
        entry = entries[k]
        g = np.float64(row[np.uint64(entry >> 2)])
        total += -g if entry & 2 else g
    return total


@inlined
def _are_neighbours(entries):
    """Whether members of one group stand side by side, none with a sign, so that no list is needed."""
    apart = entries[0] & 2
    for k in range(1, entries.size):
        apart |= entries[k] - (entries[0] & ~1) - 4 * k
    return apart == 0


@inlined
def _end_of_group(entries, j):
    """Where the next group begins, at entry ``j`` or after it."""
    while j + 32 <= entries.size:
        block, first = entries[j : j + 32], entries.dtype.type(0)
        for k in range(32):
            first |= block[k]
        if first & 1:
            break
        j += 32
    while j < entries.size and not entries[j] & 1:
        j += 1
    return j


@inlined
def _collect(direction, entries, r, near, numbers):
    """Sum over a group, by way of ``numbers``: the same bits for neighbours and for members apart."""
    if near:
        at = entries[0] >> 2
        row = direction[r, at : at + entries.size]
        for k in range(row.size):
            numbers[k] = row[k]
    else:
        for k in range(entries.size):
            g = np.float64(direction[r, np.uint64(entries[k] >> 2)])
            numbers[k] = -g if entries[k] & 2 else g
    return add_up(numbers, 0, entries.size)


@kernel
def group_average_rows(start, stop, direction, structure, output, scales, centre):
    """scale · (direction, less its mean over all groups if ``centre``, averaged inside each group)."""
    numbers = np.empty(direction.shape[1])
    for r in range(start, stop):
        look_ahead(direction, None, structure, r, stop)
        members, groups = structure[r, 0], structure[r, 1]
        fill(output[r], np.nan if members == INVALID else 0.0)
        if members <= 0 or (centre and groups == 1):
            continue
        scale = strength_of(scales, r)
        mean = _sum_of_members(direction, structure, r, 0, members) / members if centre else 0.0
        entries = structure[r, 2 : 2 + members]
        if groups == members:
            for k in range(members):
                entry = entries[k]
                g = np.float64(direction[r, entry >> 2])
                output[r, entry >> 2] = scale * (g + mean if entry & 2 else g - mean)
            continue
        i = 0
        while i < members:
            entry, j = entries[i], i + 1
            total = np.float64(direction[r, entry >> 2])
            if entry & 2:
                total = -total
            while j < members and j < i + LONG and not entries[j] & 1:
                j += 1
            if j == i + LONG:
                j = _end_of_group(entries, j)
                near = _are_neighbours(entries[i:j])
                average = scale * (_collect(direction, entries[i:j], r, near, numbers) / (j - i) - mean)
                if near:
                    at = entries[i] >> 2
                    fill(output[r, at : at + j - i], average)
                    i = j
                    continue
            else:
                if j > i + 1:
                    total += _sum_of_members(direction, structure, r, i + 1, j)
                average = scale * (total / (j - i) - mean)
            for k in range(i, j):
                entry = entries[k]
                output[r, np.uint64(entry >> 2)] = -average if entry & 2 else average
            i = j


# ------------------------------------------------------------------ on tensors
_AVERAGED_PER_SOLVED = 8  # scores that are averaged in the time that one takes to be solved


def group_average(direction: Tensor, structure: Tensor, scale: float | Tensor, centre: bool) -> Tensor:
    g = working_rows(direction)
    output = torch.empty_like(g)
    if structure.ndim != 2:
        structure = structure.reshape(-1, structure.shape[-1])
    arrays = g.numpy(), structure.contiguous().numpy(), output.numpy()
    work = g.numel() // _AVERAGED_PER_SOLVED
    run_rows(group_average_rows, g.shape[0], work, *arrays, strength_array(scale, direction), centre)
    return like(output, direction)


@kernel
def _whole_rows(start, stop, structure, output):
    for r in range(start, stop):
        stop_of_list = 2 + max(structure[r, 0], 0)
        for k in range(stop_of_list):
            output[r, k] = structure[r, k]
        for k in range(stop_of_list, output.shape[1]):
            output[r, k] = 0


def whole(structure: Tensor) -> Tensor:
    """In int32 whatever the length is, and with zeros after the members: what compiled code sees."""
    flat = structure.reshape(-1, structure.shape[-1])
    output = torch.empty_like(flat, dtype=torch.int32)
    run_rows(_whole_rows, flat.shape[0], output.numel() // _AVERAGED_PER_SOLVED, flat.numpy(), output.numpy())
    return output.view(structure.shape)


def labels(structure: Tensor) -> Tensor:
    """0 outside the support, else ±k for the k-th group of a row; ``INVALID`` throughout an invalid one."""
    members, entries = structure[..., :1], structure[..., 2:]
    listed = torch.arange(entries.shape[-1], device=entries.device) < members
    entry = torch.where(listed, entries, 0).long()
    group = torch.where((entry & 2) == 0, 1, -1) * (entry & 1).cumsum(-1)
    found = torch.zeros_like(entry).scatter_add_(-1, entry >> 2, torch.where(listed, group, 0))
    return found.masked_fill_(members == INVALID, INVALID)
