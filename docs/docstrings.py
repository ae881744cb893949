"""Griffe extension for the API page: our docstrings hold Sphinx roles and bare doctests, which Markdown misreads."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r':(?:class|func|meth|mod|data|attr):`~?(?:[\w.]*\.)?(\w+)`')
DOCTEST = re.compile(r'(?:^>>> .*\n?)(?:^(?!\s*$).*\n?)*', re.MULTILINE)


class PlainDocstrings(griffe.Extension):
    """Turn roles into code and fence doctests, before the docstrings are parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            text = ROLE.sub(r'`\1`', obj.docstring.value)
            obj.docstring.value = DOCTEST.sub(lambda found: f'```pycon\n{found[0].rstrip()}\n```\n', text)
