"""What importing the package and the MMagic adapter costs. The import contracts are checked by lint-imports itself."""

from __future__ import annotations

import sys

import pytest

from tests.photos import ROOT, succeed

TOOLS_IMPORT = 'mmagic.models, mmagic.datasets, mmagic.evaluation'


@pytest.mark.parametrize(
    ('before', 'name', 'packages'),
    [
        ('sys', 'sapd_plugin', {'sapd_plugin'}),
        # Beside what MMagic's tools import themselves.
        pytest.param(TOOLS_IMPORT, 'sapd_plugin.mmagic', {'sapd_plugin', 'lmdb'}, marks=pytest.mark.slow),
    ],
)
def test_importing_it_imports_no_other_package(before, name, packages):
    loaded = "{module.partition('.')[0] for module in sys.modules}"
    code = f'import sys, {before}; old = {loaded}; import {name}; print("new:", *{loaded} - old)'
    new = {*succeed(['-c', code], ROOT).split('new:')[1].splitlines()[0].split()}
    assert new - sys.stdlib_module_names <= packages
