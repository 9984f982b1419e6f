"""Files of pictures: which there are, and how they reach the disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.packages import check_installed
from tasks.training.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Left to itself, each format would carry its date or the drawing library's version.
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}
ENDINGS = tuple(METADATA)
"""Those of the files that a picture can be saved in."""


def check_drawing() -> None:
    """Refuse to begin what ends with a picture where none can be drawn.

    Raises:
        PackageError: so it is.
    """
    check_installed("matplotlib", "a picture")


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write ``figure`` whole or not at all, making its directory where it is missing.

    Args:
        figure: the picture.
        path: ending in one of ``ENDINGS``.
        options: of ``Figure.savefig``.

    Raises:
        OSError: the file system refuses.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], dpi=150, metadata=METADATA[path.suffix], **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, [drawn.getvalue()])
