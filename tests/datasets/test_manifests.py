"""Every manifest parses, and each of its layouts is found and prepared from a stand-in."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from sapd_plugin.cli import prepare_dataset
from sapd_plugin.datasets import scan, sub_images
from sapd_plugin.datasets.manifest import dataset_names, load_manifest, read_manifest
from sapd_plugin.errors import SAPDError
from tests.datasets import stand_ins
from tests.photos import ROOT

CASES = [
    pytest.param(name, split, layout, id=f'{name}-{split}-{layout}')
    for name in dataset_names()
    for split, parts in load_manifest(name).splits.items()
    for layout in range(max(len(part.layouts) for part in parts))
]


def test_the_manifests_are_of_the_folders_that_configs_read() -> None:
    manifests = [load_manifest(name) for name in dataset_names()]
    text = '\n'.join(path.read_text() for path in (ROOT / 'configs').rglob('*') if path.suffix in ('.yml', '.py'))
    read = re.findall(r'\b([A-Z]\w+)/((?:train|test|val)(?:/[A-Z]\w+)?)', text)
    folders = {manifest.folder for manifest in manifests}
    expected = {(folder, split) for folder, split in read if folder in folders}
    assert {(manifest.folder, split) for manifest in manifests for split in manifest.splits} == expected
    assert all(manifest.page.startswith('http') for manifest in manifests)


@pytest.mark.parametrize(('name', 'split', 'layout'), CASES)
def test_each_layout_is_prepared(name: str, split: str, layout: int, tmp_path: Path) -> None:
    manifest = load_manifest(name)
    parts = manifest.splits[split]
    stand_ins.make_split(tmp_path / 'source', parts, layout, 2)
    command = [name, '--source', f'{tmp_path}/source', '--output', f'{tmp_path}/out', '--split', split, '--any-count']
    assert prepare_dataset.main(command) == 0
    folder = tmp_path / 'out' / manifest.folder / split
    sides = ('input', 'target') if manifest.paired else ('target',)
    names = [sorted(path.name for path in (folder / side).iterdir()) for side in sides]
    blocks = any(part.layouts[min(layout, len(part.layouts) - 1)].blocks for part in parts)
    assert len(names[0]) == (4 if blocks else 2 * len(parts))
    assert names[0] == names[-1]
    assert [line.split(' ')[0] for line in (folder / 'meta_info.txt').read_text().splitlines()] == names[0]
    assert (folder / 'target_sub').is_dir() == (split == 'train' and manifest.sub_images is not None)
    assert (folder / 'input').is_dir() == (len(sides) == 2)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('folder: X\ntitle: x\npage: x\n', "found no key 'splits'"),
        ('folder: X\ntitle: x\npage: x\nsplit: {}\nsplits: {}\n', "unknown key 'split'.*Did you mean 'splits'"),
        (
            'folder: X\ntitle: x\npage: x\nsplits:\n  test:\n    - count: 1\n      layouts:\n        - {targets: y}\n',
            r"splits.test\[0\].layouts\[0\]: unknown key 'targets'.*Did you mean 'target'",
        ),
        (
            'folder: X\ntitle: x\npage: x\nsplits:\n  test:\n    - count: 1\n      layouts:\n'
            "        - {input: 'a/{n}', target: 'b/{m}'}\n",
            'a field of the target b/{m} is missing in the input',
        ),
    ],
)
def test_a_broken_manifest_is_refused_by_key(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / 'x.yml').write_text(text, encoding='utf-8')
    with pytest.raises(SAPDError, match=message):
        read_manifest(tmp_path / 'x.yml')


@pytest.mark.parametrize('module', [scan, sub_images])
def test_the_examples_in_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
