"""Annotators' segmentations of photos, in the format of the Berkeley Segmentation Data Set."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store.keys import nearest_keys
from sapd_plugin.texts import read_text

INDEX = 'index.csv'


class People:
    """A folder of BSDS ``.mat`` files, by the name of the image.

    Args:
        folder: ``NAME.mat`` for each image; or with an index.csv whose columns ``image`` (file name) and ``bsds_id``
            say which file belongs to which image, and the optional ``set`` to which data set.
        subset: use only the rows of that ``set``.

    Raises:
        SAPDError: the folder has no such files, the set is unknown, or an image is in several sets.
    """

    def __init__(self, folder: Path, subset: str | None = None) -> None:
        self.folder = folder
        index = folder / INDEX
        self._files: dict[str, Path] = {}
        if not index.is_file():
            if subset is not None:
                raise SAPDError(f'--human-set: found {subset} but no {index}, expected an index that names sets.')
            self._files = {path.stem: path for path in sorted(folder.glob('*.mat'))}
        else:
            try:  # by name, also where lines have more values than the header
                text = read_text(index, 'a CSV')
                rows = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False, index_col=False).to_dict('records')
            except ValueError as error:
                raise SAPDError(f'--human: {index} cannot be read ({error}).') from error
            if not rows or not {'image', 'bsds_id'} <= rows[0].keys():
                raise SAPDError(f'--human: found no columns image and bsds_id in {index}, expected both.')
            sets = sorted({row.get('set', '') for row in rows})
            if subset is not None and subset not in sets:
                raise SAPDError(f'--human-set: found {subset}, expected one of {", ".join(sets)} of {index}.')
            for row in rows:
                if subset in (None, row.get('set')):
                    path = folder / f'{row["bsds_id"]}.mat'
                    if self._files.setdefault(Path(row['image']).stem, path) != path:
                        raise SAPDError(
                            f'--human: found {row["image"]} in several sets of {index}, expected --human-set, one of '
                            f'{", ".join(sets)}.'
                        )
        if not self._files:
            raise SAPDError(f'--human: found no .mat file in {folder}, expected one per image.')

    def check(self, keys: Iterable[str]) -> None:
        """Refuse images without a segmentation.

        Raises:
            SAPDError: naming the first one and the nearest names.
        """
        lacking = [key for key in keys if not self._path(key).is_file()]
        if lacking:
            near = nearest_keys(lacking[0], self._files)
            raise SAPDError(
                f'--human: found no segmentation of {len(lacking)} images in {self.folder}, the first is '
                f"'{lacking[0]}'; expected one per image. Nearest: {near}."
            )

    def annotators(self, key: str) -> list[np.ndarray]:
        """Return the segmentation of each annotator: (H,W) int64, one value per region.

        Raises:
            SAPDError: the file is not a BSDS file.
        """
        path = self._path(key)
        try:
            truths = loadmat(path)['groundTruth'][0]
            return [truth['Segmentation'][0, 0].astype(np.int64) for truth in truths]
        except Exception as error:  # a damaged file may raise anything: zlib.error, struct.error, ...
            raise SAPDError(f'--human: {path}: found no groundTruth of BSDS ({error!r}), expected its .mat.') from error

    def _path(self, key: str) -> Path:
        return self._files.get(key.rpartition('/')[2], self.folder / 'absent')
