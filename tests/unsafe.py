"""A scan of source code for what runs what a file or a stranger says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted(
    path for folder in ("regattn", "tasks", "scripts", "tests") for path in (ROOT / folder).rglob("*.py")
)
"""Every file that is scanned."""

_FORBIDDEN = re.compile(
    r"""
    (\w+\.)*(_?pickle|cPickle|numpy_pickle|cloudpickle|dill|joblib|marshal|shelve)\.(load|loads|Unpickler|open)
    | .*\.(read_pickle|extract|extractall|unpack_archive)   # members of an archive go where they say
    | (builtins\.)?(eval|exec|compile|__import__)
    | (importlib\.import_module|runpy\.\w+)
    | yaml\.(full_|unsafe_)?(load|load_all)
    | yaml\.(C?(Full|Unsafe)?Loader)
    | (os\.system|os\.popen|subprocess\.get(status)?output|asyncio\.create_subprocess_shell)
    | torch\.(load|jit\.load|hub\.\w+|package\.\w+|serialization\.(add_)?safe_globals)
    | hydra\.utils\.(instantiate|call|get_method|get_class|get_object)
    """,
    re.VERBOSE | re.DOTALL,
)
_ONLY = {"trust_remote_code": False, "shell": False, "allow_pickle": False, "weights_only": True}
_STARTS = re.compile(r"subprocess\.(run|call|check_call|check_output|Popen)")


def unsafe(tree: ast.AST) -> Iterator[str]:
    """Names and options of the kind, called or handed on, under whatever name they were imported.

    Not in calls that are safe by what stands in them: ``torch.load`` of weights only, a copy by pickle, an
    import of a constant name or from within the library, Hydra's of a section of a config that was checked.
    """
    known = _imported(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    safe = {call.func for call in calls if _is_safe(call, known)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and node not in safe:
            if _FORBIDDEN.fullmatch(name := _full_name(node, known)):
                yield name
        elif isinstance(node, ast.keyword) and not _is_as_wanted(node):
            yield ast.unparse(node)
    for call in calls:
        if _STARTS.fullmatch(_full_name(call.func, known)) and call.args and _is_text(call.args[0]):
            yield ast.unparse(call)


def unsafe_shell(text: str) -> list[str]:
    """Lines of a shell script or makefile that run text, or fetch something."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [
        line for line in lines if re.search(r"(^|[\s;|&(@])(eval|source|curl|wget)\s|\|\s*(ba)?sh\b", line)
    ]


def _is_as_wanted(option: ast.keyword) -> bool:
    if option.arg not in _ONLY:
        return True
    return isinstance(option.value, ast.Constant) and option.value.value is _ONLY[option.arg]


def _imported(tree: ast.AST) -> dict[str, str]:
    """Full names by those that a module gives to what it imports."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _full_name(node: ast.expr, known: dict[str, str]) -> str:
    """Dotted, as far as it is; what else stands before the last dots is ``?``."""
    if isinstance(node, ast.Attribute):
        return f"{_full_name(node.value, known)}.{node.attr}"
    return known.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def _is_safe(call: ast.Call, known: dict[str, str]) -> bool:
    name, given = _full_name(call.func, known), call.args[0] if call.args else None
    module, _, function = name.rpartition(".")
    if name == "torch.load":  # the option's value is looked at like everywhere
        return any(keyword.arg == "weights_only" for keyword in call.keywords)
    if function == "loads":
        return isinstance(given, ast.Call) and _full_name(given.func, known) == f"{module}.dumps"
    if name == "importlib.import_module":
        start = given.values[0] if isinstance(given, ast.JoinedStr) else None
        return (
            isinstance(given, ast.Constant)
            or (isinstance(given, ast.Attribute) and given.attr == "__module__")
            or (isinstance(start, ast.Constant) and str(start.value).startswith("regattn."))
        )
    return module == "hydra.utils" and given is not None and _is_checked(given)


def _is_checked(node: ast.expr) -> bool:
    """Whether it is a section of what is called config: what scripts.runs.config has let pass."""
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return all(isinstance(value, ast.Constant) if key else _is_checked(value) for key, value in pairs)
    while isinstance(node, ast.Attribute):
        node = node.value
    return ast.unparse(node.func if isinstance(node, ast.Call) else node) in ("config", "read_config")


def _is_text(node: ast.expr) -> bool:
    """Whether it is text as written, which only a shell could take apart."""
    parts = ast.walk(node) if isinstance(node, ast.BinOp) else [node]
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in parts
    )
