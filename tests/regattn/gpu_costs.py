"""What the GPU kernels cost at the least, from machine code and emulation: nothing that a GPU has run.

``python -m tests.regattn.gpu_costs [mapping,… [length,… [type,…]]]`` prints a table in Markdown, by the
Triton that is installed or stands first on PYTHONPATH. Its floor takes an H200 to move 4.3 TB/s and to issue
an instruction in each of 132·4 schedulers 1.98e9 times a second, both as if nothing waited.
``python -m tests.regattn.gpu_costs host`` times what the host does for an eager call forward and backward, up
to the driver, in turns with torch.softmax of as many scores on the CPU.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import triton
from triton.runtime import driver

from tests.regattn.emulation import DTYPES, NoGpu, cuda, emulated, mappings, on_gpu
from tests.regattn.ptx import SECTOR

BANDWIDTH, ISSUES = 4.3e12, 132 * 4 * 1.98e9  # a second
SHAPES = [(65536, 64), (262144, 128), (4096, 512), (4096, 4096)]
SOFTMAX = {2: 10, 4: 20}
"""Bytes a score of torch.softmax, forward and backward, by the size of a score."""

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


class Launches:
    """What was launched: registers, bytes and instructions for a score, processor seconds to compile."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def launch(self, kernel: Any, grid: tuple[int], arguments: Any, constants: dict[str, Any]) -> None:
        started = sum(os.times()[:4])  # of this process and of the assembler
        form = cuda.compile_kernel(kernel, arguments, constants)
        seconds = sum(os.times()[:4]) - started
        scores = arguments[0][0].numel()
        row = {"kernel": kernel.__name__, "seconds": seconds, **resources(form)}
        emulated(partial(self.count, row, scores))(kernel, grid, arguments, constants)
        self.rows.append(row)

    @staticmethod
    def count(row: dict[str, Any], scores: int, _: Any, machine: Any) -> None:
        row["a warp"] = machine.executed.mean()
        row["a score"] = machine.executed.sum() / scores
        row["bytes"] = SECTOR * sum(map(len, machine.sectors.values())) / scores


def resources(form: Any) -> dict[str, int]:
    """Registers of a thread, and bytes that it spills."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(form.asm["cubin"])
        file.flush()
        command = [TOOLS / "cuobjdump", "-res-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", said)
    assert found, said
    return {"registers": int(found[1]), "spills": int(found[2]) + int(found[3])}


def costs(mapping: str, rows: int, d: int, dtype: str) -> tuple[list[dict[str, Any]], float]:
    """Both launches on a few normal rows, and their floor at so many rows over torch.softmax's."""
    torch.manual_seed(0)
    few = max(2, min(64, 4096 // d))
    x = torch.randn(few, d).to(DTYPES[dtype]).requires_grad_()
    found = Launches()
    with on_gpu(found.launch):
        y = mappings()[mapping](x)
        torch.autograd.grad(y, x, torch.randn(few, d).to(x.dtype))
    unit = rows * d * SOFTMAX[x.itemsize] / BANDWIDTH
    each = (max(row["bytes"] / BANDWIDTH, row["a score"] / ISSUES) for row in found.rows)
    return found.rows, rows * d * sum(each) / unit


# ------------------------------------------------------------------ the host
class NoDriver(NoGpu):
    """Takes every launch, and does nothing."""

    class utils:
        load_binary = staticmethod(lambda name, kernel, shared, device: (0, 0, 32, 0, 1024))
        unload_module = staticmethod(lambda module: None)
        get_device_properties = staticmethod(lambda device: {"max_shared_mem": 232448})

    launcher_cls = staticmethod(lambda source, metadata: lambda *arguments: None)


def print_host_times(calls: int = 400) -> None:
    driver.set_active(NoDriver())
    torch.set_num_threads(1)
    functions: dict[str, Any] = {"torch.softmax": lambda x: torch.softmax(x, -1), **mappings()}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    x, g = torch.randn(64, 64, requires_grad=True), torch.randn(64, 64)
    with on_gpu(cuda._launch):
        for _, (name, function) in product(range(calls), functions.items()):
            started = time.perf_counter()
            torch.autograd.grad(function(x), x, g)
            seconds[name].append(time.perf_counter() - started)
    for name, times in seconds.items():
        print(f"{name}: {1e6 * sorted(times)[calls // 2]:.0f} µs")


# ------------------------------------------------------------------ the table
COLUMNS = ["mapping", "rows × d", "type", "registers", "spilled B", "instructions a warp", "B a score"]
COLUMNS += ["s to compile", "floor / torch.softmax"]


def main() -> None:
    if sys.argv[1:] == ["host"]:
        print_host_times()
        return
    chosen = [given.split(",") for given in sys.argv[1:]]
    names, lengths, types = chosen + [[*mappings()], [], ["float32", "bfloat16"]][len(chosen) :]
    print(f"Triton {triton.__version__}, compute capability 9.0\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    shapes = [(rows, d) for rows, d in SHAPES if not lengths or str(d) in lengths]
    for name, (rows, d), dtype in product(names, shapes, types):
        launches, floor = costs(name, rows, d, dtype)

        def both(key: str, form: str = ".0f", launches: list[dict[str, Any]] = launches) -> str:
            return " + ".join(format(row[key], form) for row in launches)

        cells = [name, f"{rows}×{d}", dtype, both("registers"), both("spills"), both("a warp")]
        cells += [f"{sum(row['bytes'] for row in launches):.0f}", both("seconds", ".1f"), f"{floor:.2f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
