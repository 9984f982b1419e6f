"""PTX, the assembly that Triton makes for a GPU, run on a CPU: all threads of all programs at once, in numpy.

Only what kernels of this library come to; anything else raises NotImplementedError. These are errors: global
accesses outside the tensors or not aligned, shared memory out of bounds, barriers that a part of a program
passes, and bytes of shared memory that two warps use between barriers, one of them writing. Approximate
functions of the hardware are exact here.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

WARP, SEVERAL = 32, -2
SECTOR = 32  # bytes that go to and from memory together
Array = np.ndarray[Any, Any]
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_TYPES: dict[str, Any] = {
    **{f"{kind}{8 * size}": bits for kind in "bu" for size, bits in _BITS.items()},
    **{f"s{8 * n}": t for n, t in ((1, np.int8), (2, np.int16), (4, np.int32), (8, np.int64))},
    **{"f16": np.float16, "f32": np.float32, "f64": np.float64},
}
_WIDTHS = {"%rs": np.uint16, "%r": np.uint32, "%rd": np.uint64}


class Instruction(NamedTuple):
    """One line: ``@!%p1 op.words operands``."""

    guard: str
    negated: bool
    words: list[str]
    operands: list[str]


class Program(NamedTuple):
    parameters: list[tuple[str, str]]  # type and name
    code: list[Instruction]
    labels: dict[str, int]


# ------------------------------------------------------------------ text
def parse(ptx: str) -> Program:
    """The one kernel of a module."""
    text = re.sub(r"//[^\n]*", "", ptx[ptx.index(".entry") :])
    head, body = text.split("{", 1)
    parameters = re.findall(r"\.param\s+\.(\w+)[^\n]*?(\w+_param_\d+)", head)
    body = body.split("$L__func_end")[0]
    body = re.sub(r"^\s*\.(loc|file|reg|pragma|section)\b[^\n]*$", "", body, flags=re.M)
    code: list[Instruction] = []
    labels: dict[str, int] = {}
    for piece in re.split(r";|(?<=:)\s*\n", body):
        line = " ".join(piece.split())
        while label := re.match(r"(\$?\w+):\s*", line):
            labels[label[1]] = len(code)
            line = line[label.end() :]
        line = re.sub(r"^(?:[{}]\s*)+(?=[@a-z]|$)", "", line)  # scopes, not lists of registers
        if line and not line.startswith(".") and line not in "{}":
            code.append(_instruction(line))
    return Program(parameters, code, labels)


def _instruction(line: str) -> Instruction:
    match = re.match(r"(?:@(!?)(%\w+) )?([\w.:]+)\s*(.*)$", line)
    assert match, line
    operands = re.findall(r"\{[^}]*\}|\[[^]]*\]|[^,\s]+", match[4])
    return Instruction(match[2] or "", match[1] == "!", match[3].replace("::cta", "").split("."), operands)


# ------------------------------------------------------------------ threads
class Machine:
    """A launch of a kernel.

    Args:
        ptx: its text.
        arguments: numbers and addresses, as many as it has parameters.
        memory: the tensors' bytes by their address; all that it may access.
        shared, warps, programs: bytes of shared memory and warps of a program, and how many programs.

    Attributes:
        executed: how many instructions each warp has executed.
    """

    def __init__(
        self,
        ptx: str,
        arguments: Sequence[float],
        memory: dict[int, Array],
        shared: int,
        warps: int,
        programs: int,
    ) -> None:
        self.parameters, self.code, self.labels = parse(ptx)
        assert len(arguments) == len(self.parameters), (self.parameters, arguments)
        self.threads = WARP * warps * programs
        thread = np.arange(self.threads)
        self.program, self.within = np.divmod(thread, WARP * warps)
        self.warp = thread // WARP
        self.executed = np.zeros(warps * programs, np.int64)
        self.sectors: dict[str, set[int]] = {"ld": set(), "st": set()}  # of the memory of all programs
        self.arguments = {
            name: np.array(value, _TYPES[kind])
            for (kind, name), value in zip(self.parameters, arguments, strict=True)
        }
        self.special = {"%tid.x": self.within, "%ctaid.x": self.program, "%laneid": thread % WARP}
        self.memory = memory
        self.registers: dict[str, Array] = {}
        self.shared = np.zeros((programs, -(-shared // 16) * 16 + 16), np.uint8)
        self.barriers = np.zeros(programs, np.int64)
        self.written, self.read = (np.full((2, programs, self.shared.shape[1]), -1) for _ in range(2))

    def run(self, limit: int = 2_000_000) -> None:
        """To the end of all threads: those that are furthest behind go on, so that they meet again."""
        everyone, end = np.ones(self.threads, bool), len(self.code)
        here, at = 0, None  # where all threads are, or each
        with np.errstate(all="ignore"):
            for _ in range(limit):
                waiting = everyone
                if at is not None:
                    here = int(at.min())
                    waiting = at == here
                    at = None if waiting.all() else at
                if here >= end:
                    return
                line, active = self.code[here], waiting
                if line.guard:
                    active = waiting & (self.get(line.guard, "pred") != line.negated)
                some, target = bool(active.any()), here + 1
                self.executed += waiting.reshape(-1, WARP).any(1)
                if line.words[0] in ("bra", "ret", "exit"):
                    target = self.labels[line.operands[0]] if line.words[0] == "bra" else end
                elif some:
                    self.execute(line, active)
                if at is None and (not some or active.all()):
                    here = target if some else here + 1
                    continue
                at = np.full(self.threads, here) if at is None else at
                at[waiting], at[active] = here + 1, target
        raise RuntimeError(f"a loop does not end, after {limit} instructions")

    # -------------------------------------------------------------- registers
    def get(self, operand: str, kind: str) -> Array:
        """An operand of every thread, in a type."""
        if kind == "pred":
            known = self.registers.get(operand)
            return np.full(self.threads, operand in ("1", "-1")) if known is None else known
        if kind == "bf16":
            bits = self.get(operand, "u16").astype(np.uint32) << np.uint32(16)
            return bits.view(np.float32)
        wanted = np.dtype(_TYPES[kind])
        bits = _BITS[wanted.itemsize]
        if operand in self.special:
            return self.special[operand].astype(wanted)
        if operand.startswith("%"):
            value = self.registers.get(operand)
            if value is None:
                value = np.zeros(self.threads, _WIDTHS[re.match(r"%[a-z]+", operand)[0]])
            return value.astype(bits, copy=False).view(wanted)
        literal = _literal(operand) & (1 << 8 * wanted.itemsize) - 1
        return np.full(self.threads, literal, bits).view(wanted)

    def put(self, register: str, value: Any, active: Array) -> None:
        if register == "_":
            return
        value = np.broadcast_to(np.asarray(value), self.threads)
        if register.startswith("%p"):
            width: Any = bool
        else:
            width = _WIDTHS[re.match(r"%[a-z]+", register)[0]]
            if value.dtype.itemsize != np.dtype(width).itemsize:
                signed = value.dtype.kind == "i"
                value = value.astype(np.dtype(width).str.replace("u", "i") if signed else width)
            value = np.ascontiguousarray(value).view(width)
        old = self.registers.get(register)
        if old is None:
            old = self.registers[register] = np.zeros(self.threads, width)
        np.copyto(old, value, where=active)

    def addresses(self, operand: str) -> Array:
        base, _, shift = (part.strip() for part in operand[1:-1].partition("+"))
        at = np.zeros(self.threads, np.int64)
        if base.startswith("%"):
            at = self.get(base, "u64" if base.startswith("%rd") else "u32").astype(np.int64)
        return at + int(shift or 0)

    # -------------------------------------------------------------- instructions
    def execute(self, line: Instruction, active: Array) -> None:
        words, operands = line.words, line.operands
        handler = getattr(self, f"_{words[0]}", None)
        if handler is not None:
            handler(words, operands, active)
            return
        compute = _ARITHMETIC.get(words[0])
        if compute is None or words[-1] == "f16x2":
            raise NotImplementedError(".".join(words))
        kind = words[-1]
        if kind in ("s16x2", "u16x2"):  # two numbers in a register
            pairs = [self.get(o, "u32").view(_TYPES[kind[:3]]).reshape(-1, 2) for o in operands[1:]]
            both = np.ascontiguousarray(compute(words, False, *pairs))
            self.put(operands[0], both.view(np.uint32)[:, 0], active)
            return
        floating = kind[0] in "fb" and kind in ("bf16", *_FLOATS)
        values = [self.get(o, kind) for o in operands[1:]]
        if words[:2] == ["mad", "wide"]:
            values[2] = self.get(operands[3], f"{kind[0]}{2 * int(kind[1:])}")
        result = compute(words, floating, *values)
        if "ftz" in words and result.dtype == np.float32:
            result = np.where(np.abs(result) < np.finfo(np.float32).tiny, result * np.float32(0), result)
        self.put(operands[0], result, active)

    def _mov(self, words: list[str], operands: list[str], active: Array) -> None:
        to, source = operands
        kind = words[-1]
        if source == "global_smem":
            source = "0"
        if to.startswith("{"):
            whole = self.get(source, kind)
            parts = to.strip("{} ").replace(",", " ").split()
            for part, value in zip(parts, _split(whole, len(parts)), strict=True):
                self.put(part, value, active)
        elif source.startswith("{"):
            parts = source.strip("{} ").replace(",", " ").split()
            size = np.dtype(_TYPES[kind]).itemsize // len(parts)
            pieces = [self.get(part, f"u{8 * size}") for part in parts]
            self.put(to, np.stack(pieces, -1).view(_TYPES[kind])[:, 0], active)
        else:
            self.put(to, self.get(source, kind), active)

    def _cvt(self, words: list[str], operands: list[str], active: Array) -> None:
        to, source = words[-2], words[-1]
        values = [self.get(o, source) for o in operands[1:]]
        if to in ("bf16x2", "f16x2"):  # the first operand is the upper half
            high, low = (_to_half(v, to[:-2]).astype(np.uint32) for v in values)
            self.put(operands[0], high << np.uint32(16) | low, active)
        elif to in ("bf16", "f16"):
            self.put(operands[0], _to_half(values[0], to), active)
        elif source[0] in "fb" and to[0] in "us":
            rounding = {"rni": np.rint, "rmi": np.floor, "rpi": np.ceil}
            rounded = next((f for w, f in rounding.items() if w in words), np.trunc)(values[0])
            info = np.iinfo(_TYPES[to])
            bounded = np.nan_to_num(rounded.astype(np.float64), nan=0.0).clip(info.min, info.max)
            self.put(operands[0], bounded.astype(_TYPES[to]), active)
        else:
            self.put(operands[0], values[0].astype(_TYPES[to]), active)

    def _setp(self, words: list[str], operands: list[str], active: Array) -> None:
        kind, name = words[-1], words[1]
        if kind in ("f16x2", "bf16x2"):  # two numbers in a register, the lower half first
            halves = [_split(self.get(o, "b32"), 2) for o in operands[1:3]]
            for to, *pair in zip(operands[0].split("|"), *halves, strict=True):
                names = [f"%rs.{which}" for which in "ab"]
                for half, value in zip(names, pair, strict=True):
                    self.put(half, value, np.True_)
                self._setp([*words[:-1], kind[:-2]], [to, *names, *operands[3:]], active)
            return
        a, b = (self.get(o, kind) for o in operands[1:3])
        unordered = (np.isnan(a) | np.isnan(b)) if kind in ("bf16", *_FLOATS) else np.zeros(1, bool)
        if name in ("nan", "num"):
            result = unordered == (name == "nan")
        elif name in _COMPARISONS:
            result = _COMPARISONS[name](a, b) & ~unordered
        else:  # unsigned: lo, ls, hi, hs; or true also if unordered: ltu, equ
            unsigned = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}.get(name)
            result = _COMPARISONS[unsigned or name[:-1]](a, b) | (unordered if not unsigned else False)
        if words[2] in ("and", "or", "xor"):
            other = self.get(operands[3].lstrip("!"), "pred") != operands[3].startswith("!")
            result = getattr(operator, f"{words[2]}_")(result, other)
        self.put(operands[0], result, active)

    def _selp(self, words: list[str], operands: list[str], active: Array) -> None:
        a, b = (self.get(o, words[-1]) for o in operands[1:3])
        self.put(operands[0], np.where(self.get(operands[3], "pred"), a, b), active)

    def _bfe(self, words: list[str], operands: list[str], active: Array) -> None:
        bits = 8 * np.dtype(_TYPES[words[-1]]).itemsize
        value, (start, length) = self.get(operands[1], words[-1]), (int(o, 0) for o in operands[2:])
        left, right = value.dtype.type(bits - start - length), value.dtype.type(bits - length)
        self.put(operands[0], value << left >> right, active)

    def _shf(self, words: list[str], operands: list[str], active: Array) -> None:
        """A half of 64 bits that are shifted: the upper one to the left, the lower one to the right."""
        low, high, by = (self.get(o, "u32").astype(np.uint64) for o in operands[1:])
        assert words[2] == "wrap"
        whole, by = low | high << np.uint64(32), by & np.uint64(31)
        shifted = whole << by >> np.uint64(32) if words[1] == "l" else whole >> by
        self.put(operands[0], shifted.astype(np.uint32), active)

    def _prmt(self, words: list[str], operands: list[str], active: Array) -> None:
        a, b, selector = (self.get(o, "u32").astype(np.uint64) for o in operands[1:])
        pool, result = a | b << np.uint64(32), np.zeros(self.threads, np.uint64)
        for k in range(4):
            chosen = selector >> np.uint64(4 * k) & np.uint64(7)
            assert not (selector >> np.uint64(4 * k) & np.uint64(8)).any(), "sign replication"
            result |= (pool >> (chosen * np.uint64(8)) & np.uint64(255)) << np.uint64(8 * k)
        self.put(operands[0], result.astype(np.uint32), active)

    def _shfl(self, words: list[str], operands: list[str], active: Array) -> None:
        value, shift = self.get(operands[1], "u32"), self.get(operands[2], "u32").astype(np.int64)
        lane = self.special["%laneid"]
        clamp = int(operands[3], 0)
        segment = clamp >> 8 & 31
        last = (lane & segment) | (clamp & 31 & ~segment)
        moved = {"bfly": lane ^ shift, "up": lane - shift, "down": lane + shift}
        source = moved.get(words[2], (lane & segment) | (shift & ~segment))
        valid = source >= last if words[2] == "up" else source <= last
        at = np.where(valid, source, lane) + self.warp * WARP
        assert active[at][active].all(), "a lane that takes no part is read"
        to, _, predicate = operands[0].partition("|")
        self.put(to, value[at], active)
        if predicate:
            self.put(predicate, valid, active)

    def _redux(self, words: list[str], operands: list[str], active: Array) -> None:
        self._whole_warps(active)
        reduce = {"add": np.add, "min": np.minimum, "max": np.maximum, "or": np.bitwise_or}[words[2]].reduce
        value = self.get(operands[1], words[-1]).reshape(-1, WARP)
        self.put(operands[0], np.repeat(reduce(value, 1).astype(value.dtype), WARP), active)

    def _vote(self, words: list[str], operands: list[str], active: Array) -> None:
        self._whole_warps(active)
        given = self.get(operands[1].lstrip("!"), "pred") != operands[1].startswith("!")
        votes = given.reshape(-1, WARP)
        if words[2] == "ballot":
            result: Any = np.packbits(votes, 1, "little").view(np.uint32)[:, 0]
        else:
            result = votes.any(1) if words[2] == "any" else votes.all(1)
        self.put(operands[0], np.repeat(result, WARP), active)

    def _whole_warps(self, active: Array) -> None:
        part = active.reshape(-1, WARP)
        assert (part.all(1) == part.any(1)).all(), "a part of a warp at a step that takes all of it"

    # -------------------------------------------------------------- memory
    def _ld(self, words: list[str], operands: list[str], active: Array) -> None:
        if words[1] == "param":
            name, _, shift = operands[1][1:-1].partition("+")
            assert not shift
            self.put(operands[0], self.arguments[name], active)
            return
        for register, words_at in self._accesses(words, operands[0], operands[1], active):
            full = np.zeros(self.threads, _TYPES[words[-1]])
            full[active] = words_at[0][words_at[1]].view(full.dtype)
            self.put(register, full, active)

    def _st(self, words: list[str], operands: list[str], active: Array) -> None:
        for register, (buffer, at) in self._accesses(words, operands[1], operands[0], active):
            value = self.get(register, words[-1])[active]
            buffer[at] = value.view(buffer.dtype)

    def _ldmatrix(self, words: list[str], operands: list[str], active: Array) -> None:
        """Matrices of 8 × 8 halves: eight lanes say where the rows of each are, all get two halves of it."""
        self._whole_warps(active)
        at, lane = self.addresses(operands[1]), self.special["%laneid"]
        program, halves = self.program[::WARP, None, None], self.shared.view(np.uint16)
        for k, name in enumerate(operands[0].strip("{} ").replace(",", " ").split()):
            mine = active & (lane // 8 == k)
            self._watch(at[mine], 16, mine, writes=False)
            rows = at.reshape(-1, WARP)[:, 8 * k : 8 * k + 8, None] // 2
            matrix = halves[program, rows + np.arange(8)]
            matrix = matrix.swapaxes(1, 2) if "trans" in words else matrix
            self.put(name, np.ascontiguousarray(matrix).view(np.uint32).reshape(-1), active)

    def _stmatrix(self, words: list[str], operands: list[str], active: Array) -> None:
        """As :meth:`_ldmatrix`, the other way."""
        self._whole_warps(active)
        at, lane, warps = self.addresses(operands[0]), self.special["%laneid"], active[::WARP]
        program, halves = self.program[::WARP, None, None][warps], self.shared.view(np.uint16)
        for k, name in enumerate(operands[1].strip("{} ").replace(",", " ").split()):
            mine = active & (lane // 8 == k)
            self._watch(at[mine], 16, mine, writes=True)
            rows = at.reshape(-1, WARP)[warps, 8 * k : 8 * k + 8, None] // 2
            matrix = self.get(name, "u32").view(np.uint16).reshape(-1, 8, 8)[warps]
            halves[program, rows + np.arange(8)] = matrix.swapaxes(1, 2) if "trans" in words else matrix

    def _accesses(self, words: list[str], registers: str, place: str, active: Array) -> Iterator[Any]:
        """For each register of an access its buffer, in units of its size, and where."""
        size = np.dtype(_TYPES[words[-1]]).itemsize
        names = registers.strip("{} ").replace(",", " ").split()
        first = self.addresses(place)[active]
        assert not (first % (size * len(names))).any(), "misaligned"
        for k, name in enumerate(names):
            if words[1] == "shared":
                assert (first >= 0).all() and (first + size * len(names) <= self.shared.shape[1]).all()
                self._watch(first + k * size, size, active, writes=words[0] == "st")
                yield name, (self.shared.view(_BITS[size]), (self.program[active], first // size + k))
            else:
                base, buffer = self._tensor(first)
                self.sectors[words[0]].update((first // SECTOR).tolist())
                yield name, (buffer.view(_BITS[size]), (first - base) // size + k)

    def _tensor(self, at: Array) -> tuple[int, Array]:
        for base, buffer in self.memory.items():
            if base <= at[0] < base + buffer.size:
                assert base <= at.min() and at.max() < base + buffer.size, "outside the tensor"
                return base, buffer
        raise AssertionError("outside every tensor")

    def _watch(self, at: Array, size: int, active: Array, *, writes: bool) -> None:
        """Note which warp used each byte of shared memory last, and after how many barriers."""
        program, warp = self.program[active], self.warp[active]
        now = self.barriers[program]
        for k in range(size):
            place = (program, at + k)
            for since, by in (self.written, self.read) if writes else (self.written,):
                assert not ((since[place] == now) & (by[place] != warp)).any(), "a race on shared memory"
            since, by = self.written if writes else self.read
            several = (since[place] == now) & (by[place] != warp)
            by[place] = np.where(several, SEVERAL, warp)
            since[place] = now

    def _bar(self, words: list[str], operands: list[str], active: Array) -> None:
        if words[1] == "warp":
            return
        whole = active.reshape(len(self.barriers), -1)
        assert (whole.all(1) == whole.any(1)).all(), "a part of a program at a barrier"
        self.barriers[whole.any(1)] += 1


# ------------------------------------------------------------------ numbers
_FLOATS = ("f16", "f32", "f64")
_COMPARISONS: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}


def _literal(text: str) -> int:
    """The bits of a constant."""
    if text[:2] in ("0f", "0d", "0F", "0D"):
        return int(text[2:], 16)
    return int(text.rstrip("U"), 0)


def _split(whole: Array, parts: int) -> list[Array]:
    size = whole.dtype.itemsize // parts
    return [*np.ascontiguousarray(whole).view(_BITS[size]).reshape(-1, parts).T]


def _to_half(value: Array, kind: str) -> Array:
    if kind == "f16":
        return value.astype(np.float16).view(np.uint16)
    bits = value.astype(np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) >> np.uint32(16)
    return np.where(np.isnan(value), 0x7FFF, rounded).astype(np.uint16)


def _product(words: list[str], floating: bool, a: Array, b: Array, c: Any = None) -> Array:
    """mul, mad and fma; the product of floats is not rounded before the sum."""
    if floating:
        if c is None:
            return a * b
        wide = np.float64 if a.dtype == np.float32 else np.longdouble
        return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)
    if "wide" in words:
        a, b = (x.astype(np.dtype(f"{x.dtype.kind}{2 * x.dtype.itemsize}")) for x in (a, b))
    if "hi" in words:
        wide = np.dtype(f"{a.dtype.kind}8")
        assert a.dtype.itemsize == 4
        return (a.astype(wide) * b.astype(wide) >> 32).astype(a.dtype)
    return a * b if c is None else a * b + c


def _extreme(words: list[str], floating: bool, a: Array, b: Array) -> Array:
    """Of a number and NaN the number, unless NaN is asked for."""
    least = words[0] == "min"
    if not floating or "NaN" in words:
        return (np.minimum if least else np.maximum)(a, b)
    return (np.fmin if least else np.fmax)(a, b)


def _quotient(words: list[str], floating: bool, a: Array, b: Array) -> Array:
    if floating:
        return a / b
    rest = np.fmod(a, np.where(b == 0, 1, b).astype(b.dtype))
    return rest if words[0] == "rem" else (a - rest) // np.where(b == 0, 1, b).astype(b.dtype)


def _shift(words: list[str], _: bool, a: Array, b: Array) -> Array:
    """Past the width everything is shifted out."""
    bits = 8 * a.dtype.itemsize
    by = np.minimum(b.astype(np.uint64) & np.uint64(0xFFFFFFFF), bits - 1).astype(a.dtype)
    out = b.astype(np.uint64) & np.uint64(0xFFFFFFFF) >= bits
    if words[0] == "shl":
        return np.where(out, 0, a << by).astype(a.dtype)
    return np.where(out & (a.dtype.kind == "u"), 0, a >> by).astype(a.dtype)


def _bits(function: Callable[..., Any]) -> Callable[..., Array]:
    return lambda words, floating, *values: function(*values)


_ARITHMETIC: dict[str, Callable[..., Array]] = {
    "add": _bits(np.add),
    "sub": _bits(np.subtract),
    "neg": _bits(np.negative),
    "abs": _bits(np.abs),
    "and": _bits(np.bitwise_and),
    "or": _bits(np.bitwise_or),
    "xor": _bits(np.bitwise_xor),
    "not": _bits(np.invert),
    "popc": _bits(np.bitwise_count),
    "sqrt": _bits(np.sqrt),
    "rsqrt": _bits(lambda a: 1 / np.sqrt(a)),
    "rcp": _bits(np.reciprocal),
    "ex2": _bits(lambda a: np.exp2(a.astype(np.float64)).astype(a.dtype)),
    "lg2": _bits(lambda a: np.log2(a.astype(np.float64)).astype(a.dtype)),
    **dict.fromkeys(("mul", "mad", "fma"), _product),
    **dict.fromkeys(("min", "max"), _extreme),
    **dict.fromkeys(("div", "rem"), _quotient),
    **dict.fromkeys(("shl", "shr"), _shift),
}
