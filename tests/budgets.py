"""What has to hold, how often, and how often ordinary tests look: the rows of results/reliability.json."""

from __future__ import annotations

from typing import NamedTuple

from regattn._registry import MAPPINGS
from tests.unsafe import CODE


class Budget(NamedTuple):
    """How many trials the tests of one property get.

    Attributes:
        name: as tests call it.
        what: the property, or the figure of it.
        target: what it has to be.
        full: how many rows, points, runs or cases `make soak` takes; 0 where each is a test, and counted.
        ordinary: the share of them that `make test` takes.
        why: the reason where that is under a tenth.
        whole: they are all that there are, so that every run takes all of them.
        table: the heading that it stands under.
    """

    name: str
    what: str
    target: str
    full: int
    ordinary: float = 0.1
    why: str = ""
    whole: bool = False
    table: str = ""

    def wanted(self, share: float | None) -> int:
        """How many a run at this share of the full number takes; None is an ordinary one."""
        share = self.ordinary if share is None else share
        return self.full if self.whole else max(1, round(self.full * share))


def whole(name: str, what: str, target: str, full: int = 0) -> Budget:
    """A budget that is all there is."""
    return Budget(name, what, target, full, whole=True)


def _input(name: str, what: str) -> Budget:
    return whole(name, what, "one sentence, wanted and got, before any work")


CERTIFIED = "≤ 64 eps · max(1, spread(x)/γ, λd)"
LOADS = "a checkpoint loads, the next save works"
RESUMED = "one step at most, saved, exit 75, the same end when continued"
CAUGHT = "every one caught"
# fmt: off
MAPPING_BUDGETS = [
    *(Budget(f"certified {name}", f"certified violation of {name}, float64", CERTIFIED, 10_000_000,
             ordinary=0.02, why="a minute; a thousand rows remain of each kind, length, strength")
      for name, spec in MAPPINGS.items() if spec.certificate),
    Budget("low precision", "float32, bfloat16, float16 at scales 1e-6 … 1e6",
           "≤ 8 eps, no NaN row", 10_000_000),
    Budget("edge", "a score within 1e-16 … 1e-6 of where it enters the support (not softmax)",
           CERTIFIED, 100_000),
    Budget("many survivors", "oscarmax of 17 to 600 scores, all kinds, scales and λ",
           "certified and as the reference", 10_000),
    whole("integer vectors", "every vector of {−2, …, 2}^d, d ≤ 4, four γ, four λ", "exact (2 eps)",
          3 * 4 * 4 * (5 + 25 + 125 + 625)),
    Budget("equal bits", "members of a fused group", "equal bits", 400_000),
    Budget("jacobian", "gradient against the closed-form Jacobian, float64",
           "≤ 1e-12 · max(1, |J|)", 100_000),
    Budget("kinks", "points of that kind skipped for lying near a kink", "< 1 %", 100_000),
    whole("gradcheck", "gradcheck and gradgradcheck, of both modes, with and without masks", "all"),
    whole("opcheck", "opcheck of every operator", "all"),
    whole("vmap", "vmap = loop", "same bits"),
    whole("compile", "compiled = eager", "same bits, gradients to 1e-15"),
    Budget("additive masks", "an additive mask of −1e4, −1e9, finfo.min = the position removed",
           "same bits", 10_000),
    Budget("compiled code", "machine code on disk cut, emptied, flipped, zeroed, longer",
           "right answer, one line, kept anew", 200),
    Budget("shapes", "contiguous, transposed, expanded, sliced, any dim", "same bits", 9 * 2000),
    Budget("row alone", "row alone = row in a batch", "same bits", 100_000,
           ordinary=0.02, why="a call a row"),
    Budget("masked", "masked = removed, forward, whatever stands under the mask (not softmax)",
           "same bits", 500_000),
    Budget("masked gradient", "masked = removed, backward (not softmax, pnormmax)", "same bits", 400_000),
    Budget("masked sums", "masked = removed, in sums that torch makes: softmax, and pnormmax backward",
           "≤ 1e-13", 200_000),
    Budget("padding", "padding is invisible, forward and backward",
           "same bits; in torch's sums ≤ 2e-7 in float32", 100_000),
    Budget("+ constant", "a constant added to the scores", CERTIFIED, 500_000),
    Budget("permutation", "permutation (softmax, sparsemax, oscarmax, pnormmax)", CERTIFIED, 400_000),
    Budget("reversal", "reversal", CERTIFIED, 500_000),
    Budget("gamma", "γ-scaling", CERTIFIED, 500_000),
    whole("odd scores", "−inf, NaN, +inf, 1e30 and denormals; 0 rows, 0 columns, d = 1; bad strengths",
          "as documented"),
    Budget("bad strengths", "strength tensors that hold NaN, 0, negative, infinite values, in compiled code",
           "that row NaN, derivatives too, the others the same bits; in eager code refused", 10_000),
    whole("wrong kernels", "mutants of kernels and derivatives", CAUGHT),
    Budget("emulated", "GPU kernels run as PTX, both directions: lengths, types, masks, odd rows, no race",
           "≤ 8 eps · max(1, spread(x)/γ, λd), derivatives likewise", 56,
           ordinary=0.16, why="one of each mapping"),
    Budget("compiled", "GPU kernels compiled by Triton 3.6.0, 3.7.1 and 3.9.0: lengths to 8192, types, masks",
           "all", 3 * 378, ordinary=0.007, why="seconds each"),
    whole("gpu", "CPU = GPU, where there is one", "certified, derivatives likewise", 36),
]
TRAINING_BUDGETS = [
    Budget("kill", "kill −9 at a random moment, then resume",
           "same loss of every step, same metrics, bit for bit", 50),
    whole("crippled resume", "resume without a part of the state", "every one noticed"),
    whole("interrupted save", "save interrupted at every file operation, by kill and by a full disk",
          LOADS),
    whole("finished run",
          "details and record of a finished run cut off at every file operation, by kill and by a full disk",
          "a whole run or none, the next attempt writes it"),
    Budget("full disk", "save that a full disk cuts off at a random byte", LOADS, 200),
    Budget("damaged checkpoint", "checkpoints flipped, cut, zeroed", "refused by name, the previous one used",
           900, ordinary=0.5),
    Budget("SIGTERM", "SIGTERM at a random moment, and again during the save", RESUMED, 50),
    Budget("SIGUSR1", "SIGUSR1 at a random moment, and again during the save", RESUMED, 50),
    Budget("SIGTERM in evaluation", "SIGTERM at random in an evaluation (worst: of 5 s until it ended)",
           "broken off, saved, exit 75, the same end when continued", 50),
    Budget("second Ctrl-C", "a second Ctrl-C in a step that does not end",
           "ends at once, exit 75, nothing saved is lost", 50),
    Budget("killed preparation", "preparation of a corpus killed at a random moment, then begun again",
           "one whole cache, the same corpus, tokenizer and numbers", 20),
    Budget("two preparations", "preparation of a corpus begun twice at once",
           "one of them makes it, both have the same", 20),
    Budget("two processes", "two processes on one run directory", "the second refused, the first named", 50),
    Budget("sweep", "records of 8 writers that are killed at random and started again",
           "none torn, none lost, no other", 1600),
    Budget("incomplete sweep", "tables of a sweep of which any runs are missing",
           "every mean with its seeds, none of others", 50),
    Budget("incomplete plan", "plans of a sweep of which any runs are missing",
           "every missing run with its command", 50),
    whole("wrong tables", "mutants of the writing of tables", CAUGHT),
    Budget("claims rule", "simulated comparisons of mappings, with 3, 5 and 10 seeds, equal and not",
           "errors and power as chosen, within the error of simulation", 54_000),
    Budget("same seed", "three runs of one seed, one in another process (no loader has workers here)",
           "same bits", 30),
    whole("not finite", "NaN and infinity in data, scores, loss, gradient, metric",
          "stopped before the update, the batch named, the last checkpoint good"),
    Budget("corpora", "parallel corpora damaged at random",
           "kept + dropped = read, or refused by name; none misaligned", 10_000),
    whole("wrong readers", "mutants of the reading of parallel corpora", CAUGHT),
    whole("wrong writers", "mutants of the writing of records", CAUGHT),
    Budget("rescoring", "outputs of beam search scored again", "≤ 1e-6 for each token", 2_000),
    Budget("batch of one", "beam search, a sentence alone and in a batch", "≤ 1e-6 for each token", 2_000),
    whole("unsafe loading", "files of code, scanned for loading that runs what it reads", "none", len(CODE)),
    whole("malicious checkpoint", "checkpoints that hold a program", "refused, nothing run"),
    whole("hostile archives",
          "archives with members outside the target, links, devices, bombs, false sizes; tars",
          "refused or read where they lie, nothing written"),
]
INPUT_BUDGETS = [
    _input("bad data",
           "data: missing, empty, no file; wrong columns, labels, lines, bytes, lengths; damaged packing; "
           "one side for the other; a change meanwhile; what is dropped or odd, counted by file"),
    _input("bad checkpoint",
           "runs: a checkpoint cut, flipped, missing, of another config, vocabulary, torch or format, a "
           "directory, a pipe, unreadable, malicious; its config, vocabulary and record likewise; in use"),
    _input("bad config",
           "keys, choices, types and values of the config; all its numbers as NaN, infinite, negative, 0, "
           "true and empty; too large a model or corpus; paths and runs outside"),
    _input("bad environment",
           "disk full; folders that cannot be written; no network; a GPU asked for and none there"),
]
# fmt: on
TABLES = {
    "The mappings": MAPPING_BUDGETS,
    "Training and results": TRAINING_BUDGETS,
    "Bad inputs": INPUT_BUDGETS,
}
BUDGETS = {
    budget.name: budget._replace(table=table) for table, budgets in TABLES.items() for budget in budgets
}
