"""Facts that cannot be measured here any more, with where they come from; never mixed into the measured."""

SOURCE = (
    "torchsparseattn 0.2, the package that the paper's authors released, does not run on torch 1.5 or newer "
    "(legacy autograd). Patched in its autograd plumbing alone, it was measured once for this project: "
    "forward, float32, one CPU thread, torch 2.13, November 2026, on another day than the figures above."
)
SHAPES = ((640, 50), (4096, 128), (1024, 2048))
TIMES_SOFTMAX = {"fusedmax": (1140, 610, 156), "oscarmax": (1250, 880, 109)}
