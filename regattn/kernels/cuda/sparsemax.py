"""sparsemax: the threshold by Newton's steps from below."""

from __future__ import annotations

import triton
import triton.language as tl

from regattn.kernels.cuda import on_tensors
from regattn.kernels.cuda.rows import (
    load_scores,
    program_rows,
    shifted,
    strength,
    threshold,
    write,
)


@triton.jit
def sparsemax_rows(
    x, mask, gamma, y, structure, strides, mask_strides, gamma_strides, sizes, n, d,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, WORK: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    rows, columns = program_rows(ROWS), tl.arange(0, BLOCK)[None, :]
    scores, invalid = load_scores(x, mask, strides, mask_strides, sizes, rows, columns, n, d, WORK)
    z, present = shifted(scores, strength(gamma, gamma_strides, sizes, rows, n, WORK), -2.0)
    values = tl.where(present, tl.maximum(z - threshold(z, present), 0.0), 0.0)
    position = columns + tl.zeros([ROWS, BLOCK], tl.int32)
    write(y, structure, rows, position, values, present, invalid, n, d)


sparsemax = on_tensors(sparsemax_rows)
