"""Files that a run writes once: those of other settings are not overwritten."""

from __future__ import annotations

from pathlib import Path

from sapd_plugin.errors import SAPDError


def same(path: Path, text: str) -> bool:
    """Whether the file is there and holds this text."""
    return path.is_file() and path.read_text(encoding='utf-8') == text


def write(path: Path, text: str, replace_other: bool = False) -> None:
    """Write a file that is not there yet.

    Raises:
        SAPDError: one of another content is.
    """
    if path.is_file() and not replace_other and not same(path, text):
        raise SAPDError(
            f'--output: {path.parent} holds a run of other settings ({path.name} differs from what this command would '
            'write). Name another folder, or delete it.'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
