"""The mappings as tests take them, read off the registry: whatever is added has to have all properties."""

from functools import partial

from regattn import MAPPINGS

_CHOSEN = {"gamma": 0.7, "p": 1.5}
_LAM = {"fusedmax": 0.1}

FUNCTIONS = {name: spec.function for name, spec in MAPPINGS.items()}
STRENGTHS = {
    name: {key: _CHOSEN.get(key, _LAM.get(name, 0.05)) for key in spec.defaults}
    for name, spec in MAPPINGS.items()
}
"""By name strengths at which most rows have zeros, groups and members alone."""

APPLIED = {name: partial(function, **STRENGTHS[name]) for name, function in FUNCTIONS.items()}
MODULES = {name: spec.module(**STRENGTHS[name]) for name, spec in MAPPINGS.items()}
OF_OMEGA = [name for name, spec in MAPPINGS.items() if spec.omega]
"""Those that are the argmax of a regularized maximum."""

SOLVED = [name for name, spec in MAPPINGS.items() if spec.solver and spec.certificate]
"""Those with an operator of their own."""
