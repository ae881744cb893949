"""What a trial of masks says: paired differences with intervals, a table, and a verdict per kind of masks."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from sapd_plugin.evaluation.statistics import Interval, markdown_table

# Arms without masks: h without fusion, and the same network as with masks, trained and tested with one region.
CASCADE, TWIN = 'cascade', 'one region'
# A difference below this, in dB, is too small to matter: between z and y, and between z with masks and without.
LITTLE = 0.02


def paired(gains: pd.Series, control: pd.Series) -> tuple[Interval, Interval]:
    """Return how far gains are ahead of a control's, paired, with intervals over the seeds and over the photos.

    Args:
        gains: z - y in dB, with the index levels ``seed`` and ``photo``.
        control: the same of another arm; what only one of them holds is left out.
    """
    difference = (gains - control).dropna()
    by_seed, by_photo = (difference.groupby(level=over).mean().tolist() for over in ('seed', 'photo'))
    return Interval.of(by_seed), Interval.of(by_photo)


class Verdict:
    """The result of a trial.

    Args:
        rows: a line per arm, seed, masks of the test and photo; `gain` holds z - y in dB.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        keys = ['arm', 'masks']
        self._gains = rows.pivot_table(index=['seed', 'photo'], columns=keys, values='gain', sort=False)
        self.kinds = [arm for arm in dict.fromkeys(rows['arm']) if arm not in (CASCADE, TWIN)]

    def gain(self, arm: str, masks: str = 'own') -> pd.Series:
        """Return z - y of an arm by seed and photo."""
        return self._gains[arm, masks]

    def table(self) -> str:
        """Return a Markdown table: per arm, z - y and how far z is ahead of the controls' z, in dB."""
        head = ['h trained with', 'z - y', 'z - z of the twin', 'over photos', 'z - z of the cascade']
        head += ["own - another photo's", 'own - one region']
        rows = []
        for arm in [CASCADE, TWIN, *self.kinds]:
            own = self.gain(arm)
            of_seeds, of_photos = paired(own, self.gain(TWIN))
            cells = [f'{own.mean():+.3f}', of_seeds.text(3, '+'), of_photos.text(3, '+')]
            cells.append(paired(own, self.gain(CASCADE))[0].text(3, '+'))
            for masks in ('shuffled', 'one_region'):
                has = (arm, masks) in self._gains
                cells.append(paired(own, self.gain(arm, masks))[0].text(3, '+') if has else '')
            if arm == TWIN:
                cells[1:3] = ['', '']
            if arm == CASCADE:
                cells[3] = ''
            rows.append([arm, *cells])
        return '\n'.join(markdown_table(head, rows))

    def sentences(self) -> Iterator[str]:
        """Yield what the trial says: whether there is anything to distil, then one statement per kind of masks."""
        best = max(self.gain(arm).mean() for arm in (CASCADE, TWIN, *self.kinds))
        if best < LITTLE:
            yield f'There is little to distil: the best z is {best:+.3f} dB ahead of y.'
        for kind in self.kinds:
            of_seeds, of_photos = paired(self.gain(kind), self.gain(TWIN))
            ahead = f'Z is {of_seeds.text(3, "+")} dB ahead of that of the same network without masks'
            if of_seeds.low > 0 and of_seeds.mean < LITTLE:
                yield f'{kind}: the gain is too small to matter. {ahead}.'
            elif of_seeds.low > 0:
                more = '' if of_photos.low > 0 else ' But photos differ: over them, the interval includes zero.'
                yield f'{kind}: the masks help here. {ahead}.{more}'
            elif of_seeds.high < 0:
                yield f'{kind}: the masks do harm here. {ahead}.'
            else:
                yield f'{kind}: no gain is shown. {ahead}; the interval includes zero.'
