"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table_of(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table; what would break a cell is escaped."""
    rows = [head, ['---'] * len(head), *lines]
    return '\n'.join(f'| {" | ".join(_cell(text) for text in row)} |' for row in rows)


def _cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', r'\|')
