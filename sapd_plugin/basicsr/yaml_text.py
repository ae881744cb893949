"""Edits of a YAML text that keep everything else: comments, order, quotes, tags and indentation.

Positions come from PyYAML's own parser. A round trip through a YAML writer would drop ``!!float``, without which
BasicSR's loader reads ``2e-4`` as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from sapd_plugin.errors import SAPDError


class _BlockDumper(yaml.SafeDumper):
    """Write mappings as blocks, and lists in one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_BlockDumper.add_representer(list, lambda dumper, value: dumper.represent_sequence(_SEQUENCE, value, flow_style=True))
_SEQUENCE = 'tag:yaml.org,2002:seq'


class YamlText:
    """A YAML document with a mapping as its root, edited as text.

    Raises:
        SAPDError: the text is not YAML, or not a mapping.
    """

    def __init__(self, text: str) -> None:
        self._text = text if text.endswith('\n') else f'{text}\n'
        try:
            root = yaml.compose(self._text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise SAPDError(f'not YAML: {error}') from error
        if not isinstance(root, yaml.MappingNode):
            raise SAPDError('found no keys, expected the options of a BasicSR training.')
        self._root = root
        self._edits: list[tuple[int, int, str]] = []
        top = [value for _, value in root.value if isinstance(value, yaml.MappingNode) and not value.flow_style]
        self._indent = max(min((value.start_mark.column for value in top), default=2), 1)

    def keys(self, *path: str) -> list[str]:
        """Return the keys of the mapping at a path, in order."""
        return [key.value for key, _ in self._mapping(path).value]

    def replace(self, path: tuple[str, ...], value: str) -> None:
        """Replace the scalar or the tagged list at a path with other YAML."""
        node = self._entry(path)[1]
        self._edits.append((node.start_mark.index, node.end_mark.index, value))

    def insert(self, path: tuple[str, ...], entries: Mapping[str, Any], *, blank_line: bool = False) -> None:
        """Insert entries, plain YAML values, after the one at a path, in its mapping."""
        key, value = self._entry(path)
        if self._mapping(path[:-1]).flow_style:
            inline = yaml.safe_dump(dict(entries), sort_keys=False, default_flow_style=True, width=10**6).strip()
            self._edits.append((value.end_mark.index, value.end_mark.index, f', {inline[1:-1]}'))
            return
        text = yaml.dump(
            dict(entries),
            Dumper=_BlockDumper,
            sort_keys=False,
            default_flow_style=False,
            indent=self._indent,
            width=10**6,
        )
        margin = ' ' * key.start_mark.column
        lines = [f'{margin}{line}\n' for line in text.splitlines()]
        place = self._line_after(value)
        self._edits.append((place, place, '\n' * blank_line + ''.join(lines)))

    def render(self) -> str:
        """Return the edited text."""
        parts, position = [], 0
        for start, end, new in sorted(self._edits, key=lambda edit: edit[0]):
            parts += [self._text[position:start], new]
            position = end
        return ''.join([*parts, self._text[position:]])

    def _mapping(self, path: tuple[str, ...]) -> yaml.MappingNode:
        node = self._entry(path)[1] if path else self._root
        if not isinstance(node, yaml.MappingNode):
            raise SAPDError(f'{".".join(path)}: found a value, expected a block of keys.')
        return node

    def _entry(self, path: tuple[str, ...]) -> tuple[yaml.Node, yaml.Node]:
        for key, value in self._mapping(path[:-1]).value:
            if key.value == path[-1]:
                return key, value
        raise SAPDError(f'{".".join(path)}: missing.')

    def _line_after(self, node: yaml.Node) -> int:
        """Return where the line after a node begins; the parser's own end of a block includes later comments."""
        while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            node = last[1] if isinstance(last, tuple) else last
        if getattr(node, 'style', None) in ('|', '>'):
            return node.end_mark.index
        return self._text.index('\n', node.end_mark.index) + 1
