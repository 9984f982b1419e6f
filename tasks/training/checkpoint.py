"""The checkpoint file: tensors and plain JSON under one checksum, readable without pickle.

The first line holds a magic word, the format's version and a SHA-256; safetensors bytes follow, whose
metadata carry the JSON. The SHA-256 covers everything else in the file, because safetensors accepts
flipped bits.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from tasks.checks import Refusal
from tasks.data.files import no_file, read_whole, write_atomically

FORMAT = 1
WEIGHTS = ".safetensors"
"""Ending of files of weights alone, which other tools read."""
_MAGIC = b"regattn-checkpoint"


class CheckpointError(Refusal):
    """A checkpoint that cannot be written, read or used; the message names the file."""


class DamagedCheckpoint(CheckpointError):
    """A checkpoint that is missing or whose bytes are not those that were saved."""


class Checkpoint(NamedTuple):
    """What a checkpoint file holds, and a note when it is not the file asked for."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    note: str | None = None


def previous_of(path: Path) -> Path:
    """Return the name under which the checkpoint before ``path`` is kept."""
    return path.with_name(f"{path.name}.previous")


def exists(path: Path) -> bool:
    """Whether anything has been saved under ``path``."""
    # Between the two renames of a save only the previous one is there.
    return path.exists() or previous_of(path).exists()


def save(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all, and keep the one before it as ``<name>.previous``.

    Tensors that share memory are stored twice; ``state`` is plain JSON.

    Raises:
        CheckpointError: the file system refuses.
    """
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    body = safetensors.torch.save(copies, {"state": json.dumps(state, allow_nan=False)})
    prefix = b"%s %d " % (_MAGIC, FORMAT)
    chunks = [prefix, _digest(prefix, body), b"\n", body]
    try:
        write_atomically(path, chunks, previous=previous_of(path))
    except OSError as error:
        raise CheckpointError(f"cannot save {path}: {error.strerror or error}") from error


def load(path: Path) -> Checkpoint:
    """Read a checkpoint and verify its checksum.

    Raises:
        DamagedCheckpoint: the file is missing, empty, cut short or altered, or is no checkpoint.
        CheckpointError: the file cannot be read, is a directory, or is of a newer format.
    """
    header, body = _read(path)
    prefix, _, digest = header.rpartition(b" ")
    prefix += b" "
    if digest != _digest(prefix, body) or not prefix.startswith(_MAGIC + b" "):
        raise DamagedCheckpoint(f"{path} is damaged or no checkpoint: its checksum and content disagree")
    version = prefix.removeprefix(_MAGIC).strip().decode(errors="replace")
    if version != str(FORMAT):
        raise CheckpointError(f"{path} must have checkpoint format {FORMAT}, got format {version}")
    try:
        return Checkpoint(safetensors.torch.load(body), json.loads(_metadata(body)["state"]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedCheckpoint(f"{path} does not hold what a checkpoint holds: {error}") from error


def load_latest(path: Path) -> Checkpoint:
    """Read ``path``, or the checkpoint before it where ``path`` is missing or damaged; the note then says so.

    Raises:
        CheckpointError: neither can be used, or ``path`` is intact but not for this program.
    """
    try:
        return load(path)
    except DamagedCheckpoint as damage:
        previous = previous_of(path)
        if not previous.exists():
            raise
        try:
            older = load(previous)
        except CheckpointError as error:
            both = f"{damage}, and neither can the one before it be used: {error}"
            raise CheckpointError(f"{both}; move {path.parent} away to begin anew") from error
        return older._replace(note=f"{damage}; {previous.name} was used in its place")


def set_aside(path: Path) -> None:
    """Rename a damaged checkpoint, lest the next save keep it as the previous one."""
    if path.exists():
        os.replace(path, path.with_name(f"{path.name}.damaged"))


def save_weights(path: Path, weights: dict[str, Tensor], **state: str) -> None:
    """Write weights as other tools read them, and in their metadata a checksum and what is known of them."""
    state |= {"sha256": _weights_digest(weights)}
    metadata = {"state": json.dumps(state)}  # in one key, for safetensors writes several in any order
    write_atomically(path, [safetensors.torch.save(weights, metadata)])


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what :func:`save_weights` wrote.

    Raises:
        CheckpointError: the file is damaged, or another tool's.
    """
    content = read_whole(path)
    try:
        weights, state = safetensors.torch.load(content), json.loads(_metadata(content)["state"])
        wanted = state["sha256"]
    except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path} must hold weights and their checksum, got {error!r}") from error
    if _weights_digest(weights) != wanted:
        raise CheckpointError(f"{path} must have the weights of its checksum, got others: it is damaged")
    return weights, state


def _weights_digest(weights: dict[str, Tensor]) -> str:
    """Of names, types, shapes and numbers, in whatever order and place a file has them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {[*tensor.shape]}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def serialize(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Describe ``value`` in plain JSON and move its tensors, named by their path, into ``tensors``.

    It is made of tensors, numbers, strings and None in dicts, lists and tuples, such as an optimizer's
    ``state_dict()``. In the description, from which :func:`deserialize` rebuilds it, containers are tagged,
    because JSON knows neither tuples nor keys that are integers.

    Raises:
        TypeError: ``value`` contains something else.

    Example:
        >>> serialize({0: (1.5, None)}, "state", {})
        {'dict': [[0, {'tuple': [1.5, None]}]]}
    """
    if isinstance(value, Tensor):
        assert name not in tensors, f"two tensors are called {name}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {
            "dict": [[_key(key), serialize(item, f"{name}.{key}", tensors)] for key, item in value.items()]
        }
    if isinstance(value, list | tuple):
        tag = "list" if isinstance(value, list) else "tuple"
        return {tag: [serialize(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name} must be made of tensors, numbers, strings and None, got {type(value).__name__}")


def deserialize(stored: Any, tensors: dict[str, Tensor]) -> Any:
    """Rebuild the value that :func:`serialize` described.

    Example:
        >>> deserialize({"dict": [[0, {"tuple": [1.5, None]}]]}, {})
        {0: (1.5, None)}
    """
    if not isinstance(stored, dict):
        return stored
    ((tag, content),) = stored.items()
    if tag == "tensor":
        return tensors[content]
    if tag == "dict":
        return {key: deserialize(item, tensors) for key, item in content}
    if tag == "float":
        return float(content)
    items = [deserialize(item, tensors) for item in content]
    return items if tag == "list" else tuple(items)


def _read(path: Path) -> tuple[bytes, bytes]:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise no_file(path)  # to open a pipe may be to wait for ever
        with open(path, "rb") as file:
            # Bounded, so that a file without a newline is not read as one line.
            header = file.readline(256)
            return header.removesuffix(b"\n"), file.read()
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{path} is missing") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _digest(prefix: bytes, body: bytes) -> bytes:
    # The prefix is covered too: a flipped bit in the version must read as damage, not as a newer format.
    digest = hashlib.sha256(prefix)
    digest.update(body)
    return digest.hexdigest().encode()


def _metadata(body: bytes) -> dict[str, str]:
    # safetensors returns metadata only for files by name; its header is eight bytes of length, then JSON.
    length = int.from_bytes(body[:8], "little")
    metadata: dict[str, str] = json.loads(body[8 : 8 + length])["__metadata__"]
    return metadata


def _key(key: object) -> object:
    if not isinstance(key, int | str):
        raise TypeError(f"a key must be an integer or a string, got {key!r}")
    return key
