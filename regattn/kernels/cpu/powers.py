"""Powers, to the last bits or fewer digits, in instructions that LLVM vectorizes; libm takes far longer."""

from __future__ import annotations

import math

import numpy as np

from regattn.kernels.cpu.compiling import fused, inlined
from regattn.kernels.cpu.vectors import same_bits

_MANTISSA = 52
_HALF_ROOT = int(np.float64(math.sqrt(0.5)).view(np.int64))
_BIAS = 1024 << _MANTISSA  # keeps the exponent positive, so that it is shifted without its sign
_WHOLE = 2.0**52 + 1024.0  # a float whose last bits are an integer, plus that bias
_WHOLE_BITS = int(np.float64(2.0**52).view(np.int64))
_ROUND = 1.5 * 2.0**52  # what is added to it is rounded to an integer
_LN2 = math.log(2.0)
_LN2_HIGH = 0.6931471803691238  # the upper half of its bits, so that its product with an exponent is exact
_LN2_LOW = 1.9082149292705877e-10  # log 2 less that
_LOWEST = -708.0  # whose exponential is the smallest normal number


ROUGH, SINGLE, DOUBLE = 5, 9, 16  # decimal digits of a power, for which terms of its series are chosen


@inlined
def digits_of(scores):
    """As many as numbers of this type have."""
    return DOUBLE if np.finfo(scores.dtype).eps < 1e-10 else SINGLE


@fused
def log_of(u, correction, digits):
    """log(u + correction) of a normal number in (0, 1], for a correction below its last bit.

    With m = u·2^−k in [√½, √2) and s = (m − 1)/(m + 1): k log 2 + 2 artanh s.
    """
    bits = same_bits(u)
    exponent = np.int64(np.uint64(bits - _HALF_ROOT + _BIAS) >> np.uint64(_MANTISSA))
    k = same_bits(exponent | _WHOLE_BITS) - _WHOLE
    f = (same_bits(bits - ((exponent - 1024) << _MANTISSA)) - 1.0) + correction
    s = f / (2.0 + f)
    q = s * s
    p = q * q  # two sums, each half as long, that a processor adds up side by side
    if digits == ROUGH:
        even, odd = 1.0 / 3.0, 1.0 / 5.0
    elif digits == SINGLE:
        even = (p * (1.0 / 11.0) + 1.0 / 7.0) * p + 1.0 / 3.0
        odd = p * (1.0 / 9.0) + 1.0 / 5.0
    else:
        even = (((p * (1.0 / 19.0) + 1.0 / 15.0) * p + 1.0 / 11.0) * p + 1.0 / 7.0) * p + 1.0 / 3.0
        odd = (((p * (1.0 / 21.0) + 1.0 / 17.0) * p + 1.0 / 13.0) * p + 1.0 / 9.0) * p + 1.0 / 5.0
    return k * _LN2 + (2.0 * s + 2.0 * s * (q * (even + q * odd)))


@fused
def exp_of(a, digits):
    """exp(a) for a ≤ 708; 0 where that is no normal number.

    With a = k log 2 + r, |r| ≤ ½ log 2: 2^k times the series of exp(r).
    """
    low = min(max(a, _LOWEST), -_LOWEST)
    whole = low * (1.0 / _LN2) + _ROUND
    k = whole - _ROUND
    r = (low - k * _LN2_HIGH) - k * _LN2_LOW
    q = r * r
    if digits == ROUGH:
        even, odd = 1.0 / 24.0, 1.0 / 120.0
    elif digits == SINGLE:
        even = (q * (1.0 / 40320.0) + 1.0 / 720.0) * q + 1.0 / 24.0
        odd = q * (1.0 / 5040.0) + 1.0 / 120.0
    else:
        even = (
            ((q * (1.0 / 479001600.0) + 1.0 / 3628800.0) * q + 1.0 / 40320.0) * q + 1.0 / 720.0
        ) * q + 1.0 / 24.0
        odd = (
            ((q * (1.0 / 6227020800.0) + 1.0 / 39916800.0) * q + 1.0 / 362880.0) * q + 1.0 / 5040.0
        ) * q + 1.0 / 120.0
    series = 0.5 + r * (1.0 / 6.0) + q * (even + r * odd)
    scale = same_bits((same_bits(whole) + 1023) << _MANTISSA)
    result = scale * (1.0 + (r + q * series))
    return result if a >= _LOWEST else 0.0


@fused
def power_of(x, e, digits):
    """(1 + x)^e for −1 < x ≤ 0, 0 for x ≤ −1; for small x as exact as x is."""
    u = 1.0 + x
    inside = u > 0.0
    positive = u if inside else 1.0
    result = exp_of(e * log_of(positive, x - (u - 1.0) if inside else 0.0, digits), digits)
    return result if inside else 0.0
