"""Patterns of image paths with fields: ``train/{scene}/blur/{frame}`` finds train/GOPR01/blur/000047.png."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

# Suffixes of image files, in any case; patterns leave them out.
SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')
_FIELD = re.compile(r'\{(\w+)(?::([^{}]*))?\}')


class Pattern:
    """A pattern of a path below the source folder, without suffix.

    ``{field}`` stands for any text within one name, ``{field:expression}`` for a match of the regular expression. A
    field whose name begins with '_' is for choices, such as ``{_:input|lq}``: it is not part of an image's name. Hidden
    files and folders are skipped.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f'Pattern({self.text!r})'

    def __str__(self) -> str:
        """Return it in a readable form: ``train/(input|lq)/*``."""
        choice = re.compile(r'[\w|-]+')
        return _FIELD.sub(lambda field: f'({field[2]})' if choice.fullmatch(field[2] or '') else '*', self.text)

    @property
    def fields(self) -> list[str]:
        """Names of the fields that name an image, in order."""
        return list(dict.fromkeys(name for name, _ in _FIELD.findall(self.text) if not name.startswith('_')))

    def check(self) -> None:
        """Compile every level; raises ``re.error`` if the expression of a field is not a regular one."""
        known: dict[str, str] = {}
        for level in self._levels:
            known |= dict.fromkeys(_expression(level, known).groupindex, '')

    @cached_property
    def _levels(self) -> list[str]:
        return re.split(r'/(?![^{]*\})', self.text)

    def find(self, root: Path) -> Iterator[tuple[dict[str, str], Path]]:
        """Yield (fields, path) of each matching image, sorted by name."""
        yield from self._search(root, 0, {})

    def _search(self, folder: Path, level: int, fields: dict[str, str]) -> Iterator[tuple[dict[str, str], Path]]:
        text = self._levels[level]
        last = level == len(self._levels) - 1
        if not last and '{' not in text:
            if (folder / text).is_dir():
                yield from self._search(folder / text, level + 1, fields)
            return
        expression = _expression(text, fields)
        for name in _names(folder):
            stem, suffix = os.path.splitext(name)
            if last and suffix.lower() not in SUFFIXES:
                continue
            match = expression.fullmatch(stem if last else name)
            if match is None:
                continue
            found = {**fields, **match.groupdict()}
            if last:
                yield found, folder / name
            elif (folder / name).is_dir():
                yield from self._search(folder / name, level + 1, found)


def _expression(text: str, fields: dict[str, str]) -> re.Pattern[str]:
    """Return the regular expression of a name; a known field stands for its value."""
    parts, end, known = [], 0, set(fields)
    for field in _FIELD.finditer(text):
        name = field[1]
        parts.append(re.escape(text[end : field.start()]))
        if name in fields:
            parts.append(re.escape(fields[name]))
        else:
            parts.append(f'(?P={name})' if name in known else f'(?P<{name}>{field[2] or ".+?"})')
        known.add(name)
        end = field.end()
    return re.compile(''.join([*parts, re.escape(text[end:])]))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith('.'))
    except (FileNotFoundError, NotADirectoryError):
        return []
