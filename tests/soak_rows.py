"""What has to hold, how often, and how often the ordinary tests look: the rows of reliability.json."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.unsafe import CODE


class Row(NamedTuple):
    """One figure to reach.

    Attributes:
        name: as tests call it.
        table: the heading that it stands under.
        what: the figure.
        target: what it has to be.
        full: how many rows, points, runs or cases `make soak` takes.
        ordinary: the share of them that `make test` takes.
        whole: they are all that there are, so that every run takes all of them.
        why: the reason where ``ordinary`` is under a tenth.
    """

    name: str
    table: str
    what: str
    target: str
    full: int
    ordinary: float = 0.1
    whole: bool = False
    why: str = ""

    def wanted(self, share: float | None) -> int:
        """How many a run at this share of the full number takes; None is an ordinary one."""
        share = self.ordinary if share is None else share
        return self.full if self.whole else max(1, round(self.full * share))


NAMES = ("softmax", "sparsemax", "fusedmax", "oscarmax", "pnormmax")
_LOADS = "a checkpoint loads, the next save works"
_RESUMED = "one step at most, saved, exit 75, the same end when continued"
_CERTIFIED = "≤ 64 eps · max(1, spread(x)/γ, λd)"


def _mappings(name: str, what: str, target: str, full: int, **options: Any) -> Row:
    return Row(name, "The mappings", what, target, full, **options)


def _training(name: str, what: str, target: str, full: int, **options: Any) -> Row:
    return Row(name, "Training and results", what, target, full, **options)


def _inputs(name: str, what: str, full: int) -> Row:
    return Row(name, "Bad inputs", what, "one sentence, wanted and got, before any work", full, whole=True)


ROWS = [
    *(
        _mappings(
            f"certified {name}",
            f"certified violation of {name}, float64",
            _CERTIFIED,
            10_000_000,
        )
        for name in NAMES
    ),
    _mappings(
        "low precision", "float32, bfloat16, float16 at scales 1e-6 … 1e6", "≤ 8 eps, no NaN row", 10_000_000
    ),
    _mappings(
        "edge",
        "a score within 1e-16 … 1e-6 of where it enters the support (not softmax)",
        _CERTIFIED,
        100_000,
    ),
    _mappings(
        "many survivors",
        "oscarmax of 17 to 600 scores, all kinds, scales and λ",
        "certified and as the reference",
        10_000,
    ),
    _mappings(
        "integer vectors",
        "every vector of {−2, …, 2}^d, d ≤ 4, four γ, four λ",
        "exact (2 eps)",
        3 * 4 * 4 * (5 + 25 + 125 + 625),
        whole=True,
    ),
    _mappings("equal bits", "members of a fused group", "equal bits", 400_000),
    _mappings(
        "jacobian", "gradient against the closed-form Jacobian, float64", "≤ 1e-12 · max(1, |J|)", 100_000
    ),
    _mappings("kinks", "points of that kind skipped for lying near a kink", "< 1 %", 100_000),
    _mappings(
        "gradcheck",
        "gradcheck and gradgradcheck, of both modes, with and without masks",
        "all",
        31,
        whole=True,
    ),
    _mappings("opcheck", "opcheck of every operator", "all", 29, whole=True),
    _mappings("vmap", "vmap = loop", "same bits", 19, whole=True),
    _mappings("compile", "compiled = eager", "same bits, gradients to 1e-15", 23, whole=True),
    _mappings("shapes", "contiguous, transposed, expanded, sliced, any dim", "same bits", 9 * 2000),
    _mappings(
        "row alone", "row alone = row in a batch", "same bits", 100_000, ordinary=0.02, why="a call a row"
    ),
    _mappings(
        "masked",
        "masked = removed, forward, whatever stands under the mask (not softmax)",
        "same bits",
        500_000,
    ),
    _mappings("masked gradient", "masked = removed, backward (not softmax, pnormmax)", "same bits", 400_000),
    _mappings(
        "masked sums",
        "masked = removed, in sums that torch makes: softmax, and pnormmax backward",
        "≤ 1e-13",
        200_000,
    ),
    _mappings(
        "padding",
        "padding is invisible, forward and backward",
        "same bits; in torch's sums ≤ 2e-7 in float32",
        100_000,
    ),
    _mappings("+ constant", "a constant added to the scores", _CERTIFIED, 500_000),
    _mappings("permutation", "permutation (softmax, sparsemax, oscarmax, pnormmax)", _CERTIFIED, 400_000),
    _mappings("reversal", "reversal", _CERTIFIED, 500_000),
    _mappings("gamma", "γ-scaling", _CERTIFIED, 500_000),
    _mappings(
        "odd scores",
        "−inf, NaN, +inf, 1e30 and denormals; 0 rows, 0 columns, d = 1; bad strengths",
        "as documented",
        124,
        whole=True,
    ),
    _mappings(
        "wrong kernels", "planted faults in kernels and derivatives", "every one caught", 68, whole=True
    ),
    _mappings("gpu", "CPU = GPU, where there is one", "certified, derivatives likewise", 36, whole=True),
    _training(
        "kill",
        "kill −9 at a random moment, then resume",
        "same loss of every step, same metrics, bit for bit",
        50,
    ),
    _training("crippled resume", "resume without a part of the state", "every one noticed", 10, whole=True),
    _training(
        "interrupted save",
        "save interrupted at every file operation, by kill and by a full disk",
        _LOADS,
        34,
        whole=True,
    ),
    _training(
        "finished run",
        "details and record of a finished run cut off at every file operation, by kill and by a full disk",
        "a whole run or none, the next attempt writes it",
        32,
        whole=True,
    ),
    _training("full disk", "save that a full disk cuts off at a random byte", _LOADS, 200),
    _training(
        "damaged checkpoint",
        "checkpoints flipped, cut, zeroed",
        "refused by name, the previous one used",
        900,
        ordinary=0.5,
    ),
    _training("SIGTERM", "SIGTERM at a random moment, and again during the save", _RESUMED, 50),
    _training("SIGUSR1", "SIGUSR1 at a random moment, and again during the save", _RESUMED, 50),
    _training(
        "two processes", "two processes on one run directory", "the second refused, the first named", 50
    ),
    _training(
        "sweep",
        "records of 8 writers that are killed at random and started again",
        "none torn, none lost, no other",
        1600,
    ),
    _training(
        "incomplete sweep",
        "tables of a sweep of which any runs are missing",
        "every mean with its seeds, none of others",
        50,
    ),
    _training(
        "incomplete plan",
        "plans of a sweep of which any runs are missing",
        "every missing run with its command",
        50,
    ),
    _training("wrong tables", "planted faults in the writing of tables", "every one caught", 5, whole=True),
    _training(
        "same seed",
        "three runs of one seed, one in another process (no loader has workers here)",
        "same bits",
        30,
    ),
    _training(
        "not finite",
        "NaN and infinity in data, scores, loss, gradient, metric",
        "stopped before the update, the batch named, the last checkpoint good",
        20,
        whole=True,
    ),
    _training(
        "corpora",
        "parallel corpora damaged at random",
        "kept + dropped = read, or refused by name; none misaligned",
        10_000,
    ),
    _training(
        "wrong readers", "planted faults in reading parallel corpora", "every one caught", 5, whole=True
    ),
    _training("wrong writers", "planted faults in writing records", "every one caught", 3, whole=True),
    _training("rescoring", "outputs of beam search scored again", "≤ 1e-6 for each token", 2_000),
    _training("batch of one", "beam search, a sentence alone and in a batch", "≤ 1e-6 for each token", 2_000),
    _training(
        "unsafe loading",
        "files of code, scanned for loading that runs what it reads",
        "none",
        len(CODE),
        whole=True,
    ),
    _training(
        "malicious checkpoint", "checkpoints that hold a program", "refused, nothing run", 4, whole=True
    ),
    _training(
        "hostile archives",
        "archives with members outside the target, links, devices, bombs, false sizes; tars",
        "refused or read where they lie, nothing written",
        23,
        whole=True,
    ),
    _inputs(
        "bad data",
        "data: missing, empty, no file; wrong columns, labels, lines, bytes, lengths; damaged packing; one "
        "side for the other; a change meanwhile; what is dropped or odd, counted by file",
        124,
    ),
    _inputs(
        "bad checkpoint",
        "runs: a checkpoint cut, flipped, missing, of another config, vocabulary, torch or format, a "
        "directory, a pipe, unreadable, malicious; its config, vocabulary and record likewise; in use",
        78,
    ),
    _inputs(
        "bad config",
        "keys, choices, types and values of the config; all its numbers as NaN, infinite, negative, 0, true "
        "and empty; too large a model or corpus; paths and runs outside",
        41,
    ),
    _inputs(
        "bad environment",
        "disk full; folders that cannot be written; no network; a GPU asked for and none there",
        11,
    ),
]
BY_NAME = {row.name: row for row in ROWS}
