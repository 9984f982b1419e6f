"""Compile the CPU kernels before their first call: ``python -m regattn.precompile [mapping …]``.

For an image of a container or before many processes start; where and how long the machine code is kept says
:mod:`regattn.kernels.cpu.compiling`. Without names, all mappings.
"""

from __future__ import annotations

import sys
import time

import torch

from regattn import MAPPINGS
from regattn._registry import MappingSpec, named

_SHAPES = ((16_384, 8), (16, 8_200))  # enough for threads, forward and backward; structures of 16 and 32 bits


def precompile(spec: MappingSpec) -> float:
    """Compile all that calls of a mapping and their derivatives need, and return the seconds that it took."""
    start, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(max(2, threads))  # the loop over rows in threads is compiled, too
    for dtype in (torch.float32, torch.float64):
        for shape in _SHAPES:
            scores = torch.zeros(shape, dtype=dtype, requires_grad=True)
            learnt = {}
            if spec.solver is not None and spec.solver.penalty_slope is not None:
                learnt["lam"] = torch.tensor(spec.defaults["lam"], requires_grad=True)
            spec.function(scores, **learnt).sum().backward()
    torch.set_num_threads(threads)
    return time.perf_counter() - start


def main(names: list[str]) -> int:
    try:
        specs = [named(name) for name in names or MAPPINGS]
    except ValueError as error:
        print(f"regattn: {error}", file=sys.stderr)
        return 2
    for spec in specs:
        print(f"{spec.name}: {precompile(spec):.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
