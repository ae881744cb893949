from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter, mask_key
from sapd_plugin.priors.store.codec import RecordError
from sapd_plugin.priors.store.keys import template_key
from tests.priors.store.stores import KEYS, SETTINGS, fill, label_map


def test_what_was_written_is_read(store: Path) -> None:
    masks = MaskStore(store)
    assert masks.keys() == KEYS
    assert len(masks) == len(KEYS)
    assert 'a/x' in masks
    assert 'a' not in masks
    assert masks.size('a/x.y') == (150, 200)
    assert masks.settings == SETTINGS
    assert masks.verify() == []
    for key in KEYS:
        np.testing.assert_array_equal(masks.record(key).labels(), label_map(len(key)).labels)
        assert masks.record(key).fingerprint.hex() == masks.fingerprint
    again = pickle.loads(pickle.dumps(masks))
    masks.close()
    assert again.keys() == masks.keys()


@pytest.mark.parametrize(
    ('key', 'near'), [('a/x.png', 'a/x'), ('c/x', 'a/x'), ('ubung 1', 'übung 1'), ('data/b/x', 'b/x')]
)
def test_a_missing_key_is_named_with_the_nearest(store: Path, key: str, near: str) -> None:
    with pytest.raises(SAPDError, match=f"mask store {store}: no mask for '{key}' among 5, .* Nearest: '{near}'"):
        MaskStore(store).record(key)


def test_shards_of_other_settings_and_a_key_in_two_shards_are_found(store: Path, tmp_path: Path) -> None:
    fill(store, ['a/x'], shard=1)
    assert MaskStore(store).verify() == ["key 'a/x': in both shard-00000.lmdb and shard-00001.lmdb."]
    other = fill(tmp_path / 'other', ['q'], shard=2, segmenter='another')
    shutil.copytree(other / 'shard-00002.lmdb', store / 'shard-00002.lmdb')
    with pytest.raises(SAPDError, match=r'shard-00002.lmdb: .* segmenter: found "another", expected "test"'):
        MaskStore(store)


def test_damaged_and_strange_records_are_named(store: Path, tmp_path: Path) -> None:
    other = fill(tmp_path / 'other', ['q'], segmenter='another')
    with lmdb.open(str(other / 'shard-00000.lmdb')) as env, env.begin() as transaction:
        stranger = transaction.get(b'q')
    with lmdb.open(str(store / 'shard-00000.lmdb')) as env, env.begin(write=True) as transaction:
        flipped = bytearray(transaction.get(b'b/x'))
        flipped[-1] ^= 255
        transaction.put(b'b/x', bytes(flipped))
        transaction.put(b'd.png', bytes(flipped[:50]))
        transaction.put(b'a/x', stranger)
    masks = MaskStore(store)
    problems = masks.verify()
    assert len(problems) == 3
    assert problems[0].startswith("key 'a/x': made with different settings")
    assert problems[1].startswith("key 'b/x' in shard-00000.lmdb: mask record: tile 3 is damaged")
    with pytest.raises(RecordError, match='tile 3 is damaged'):
        masks.record('b/x').verify()
    with pytest.raises(RecordError, match=r"store, key 'd.png': mask record: found 50 bytes"):
        masks.record('d.png')
    with pytest.raises(RecordError, match="key 'a/x': found the settings' fingerprint"):
        masks.record('a/x')


def test_what_is_no_store_is_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(SAPDError, match=r'found no readable manifest.json'):
        MaskStore(tmp_path / 'nothing')
    (tmp_path / 'photo.png').write_bytes(b'x')
    with pytest.raises(SAPDError, match=r"found 'photo.png' and no manifest.json"):
        MaskStoreWriter(tmp_path, SETTINGS)
    (store / 'manifest.json').write_text(json.dumps({'format': 'sapd-mask-store', 'version': 9, 'settings': {}}))
    with pytest.raises(SAPDError, match='of version 9, expected'):
        MaskStore(store)
    (store / 'manifest.json').write_text('[]')
    with pytest.raises(SAPDError, match="expected a mask store's manifest"):
        MaskStore(store)
    shutil.rmtree(fill(tmp_path / 'empty', []) / 'shard-00000.lmdb')
    with pytest.raises(SAPDError, match=r'found no shard-\*.lmdb'):
        MaskStore(tmp_path / 'empty')


def test_a_read_only_store_is_read(store: Path) -> None:
    for lock in store.rglob('lock.mdb'):
        lock.unlink()
    places = [store, *store.rglob('*')]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        assert MaskStore(store).verify() == []
        assert not list(store.rglob('lock.mdb'))
    finally:
        for place in places:
            place.chmod(0o755)


class Crops(Dataset):
    def __init__(self, store: MaskStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.store.record(KEYS[index % 4])[index : index + 64, 10:74].astype(np.int32))


@pytest.mark.parametrize('method', ['fork', pytest.param('spawn', marks=pytest.mark.slow)])
def test_workers_read_side_by_side(store: Path, method: str) -> None:
    crops = Crops(MaskStore(store))
    expected = torch.stack([crops[i] for i in range(len(crops))])  # opened in the parent before the fork
    context = multiprocessing.get_context(method)
    loader = DataLoader(crops, batch_size=4, num_workers=2, multiprocessing_context=context, persistent_workers=True)
    for _ in range(2):
        assert torch.equal(torch.cat(list(loader)), expected)
    assert torch.equal(crops[3], expected[3])


BARE = """
import sys
sys.modules['fcntl'] = None  # as on Windows
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter
print(MaskStore(sys.argv[1]).record('a/x')[10:20, 30:50].shape)
print(sorted({'torch', 'cv2', 'skimage', 'segment_anything', 'torchvision'} & set(sys.modules)))
try:
    MaskStoreWriter(sys.argv[1], MaskStore(sys.argv[1]).settings)
except SAPDError as error:
    print(error)
"""


def test_reading_needs_no_torch_no_segmenter_and_no_fcntl_and_writing_says_what_is_missing(store: Path) -> None:
    done = subprocess.run([sys.executable, '-c', BARE, str(store)], capture_output=True, text=True, check=True)
    shape, imported, message = done.stdout.splitlines()
    assert (shape, imported) == ('(10, 20, 1)', '[]')
    assert 'lacks fcntl' in message


@pytest.mark.parametrize(
    ('path', 'key'),
    [('a.png', 'a'), ('x/a.b.jpeg', 'x/a.b'), ('ünï/ä 1.PNG', 'ünï/ä 1'), ('noext', 'noext'), ('.hidden', '.hidden')],
)
def test_keys_are_paths_below_the_folder(tmp_path: Path, path: str, key: str) -> None:
    assert mask_key(tmp_path / path, tmp_path) == key
    assert mask_key(str(tmp_path / path), str(tmp_path) + '/') == key


@pytest.mark.parametrize(
    'template', ['{:>9999999999}', '{!r}', '{0}', '{x}', '{', '}', '{}{}', '{{}}', '', 'masks', None, 5]
)
def test_templates_hold_one_plain_field(template: object) -> None:
    with pytest.raises(SAPDError, match='mask_filename_tmpl: found .*, expected text with one {}'):
        template_key('x/1', template)  # type: ignore[arg-type]
    assert template_key('x/{1}', 'sub/{}_r') == 'x/sub/{1}_r'


def test_names_that_cannot_be_keys_are_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(SAPDError, match='found an image outside its folder'):
        mask_key('/elsewhere/a.png', tmp_path)
    with pytest.raises(SAPDError, match='found 512 bytes, expected 1 to 511'):
        mask_key(tmp_path / ('ä' * 100 + '/') / ('b' * 110) / ('c' * 200 + '.png'), tmp_path)
    with pytest.raises(SAPDError, match='not valid UTF-8'):
        mask_key(tmp_path / os.fsdecode(b'\xff.png'), tmp_path)
    with pytest.raises(SAPDError, match='found 0 bytes'):
        assert '' in MaskStore(store)
    with MaskStoreWriter(store, SETTINGS) as writer, pytest.raises(SAPDError, match=r"'x\\ny': found a line break"):
        writer.put('x\ny', label_map(0))
