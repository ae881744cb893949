"""What a trial of masks says: paired differences with intervals, a table, and a verdict per kind of masks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from sapd_plugin.evaluation.statistics import Interval, markdown_table

# Arms without masks: h without fusion, and the same network as with masks, trained and tested with one region.
CASCADE, TWIN = 'cascade', 'one region'
# The end of the name of an arm that is trained and tested with another photo's masks.
SHUFFLED = ', shuffled'
# A difference below this, in dB, is too small to matter: between z and y, and between z with masks and without.
LITTLE = 0.02
# The verdict on masks that gain over the twin, where another control, the format's argument, may be as good.
BETTER_ALONE = 'better than without masks, but not shown to be better than {}'


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
        rows: a line per arm, seed, masks of the test and photo; ``gain`` holds z - y in dB.
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
        head = ['h trained with', 'z - y', 'z - z of the twin', 'the same, over photos', 'z - z of the cascade']
        head += ["own - another photo's", 'own - one region']
        rows = []
        for arm in [CASCADE, TWIN, *self.kinds]:
            own = self.gain(arm)
            of_seeds, of_photos = (each.text(3, '+') for each in paired(own, self.gain(TWIN)))
            of_cascade = paired(own, self.gain(CASCADE))[0].text(3, '+')
            blank = {CASCADE: ['', '', ''], TWIN: ['', '', of_cascade]}
            cells = blank.get(arm, [of_seeds, of_photos, of_cascade])
            for masks in ('shuffled', 'one_region'):
                has = (arm, masks) in self._gains
                cells.append(paired(own, self.gain(arm, masks))[0].text(3, '+') if has else '')
            rows.append([arm, f'{own.mean():+.3f}', *cells])
        return '\n'.join(markdown_table(head, rows))

    def sentences(self) -> Iterator[str]:
        """Yield what the trial says: whether there is anything to distil, then one statement per kind of masks."""
        best = max((self._of_seeds(arm) for arm in (CASCADE, TWIN, *self.kinds)), key=lambda interval: interval.mean)
        if best.low < LITTLE:
            yield f'There is little to distil: the best z is {best.text(3, "+")} dB ahead of y.'
        yield from (f'{kind}: {self._sentence(kind)}' for kind in self.kinds)

    def _of_seeds(self, arm: str) -> Interval:
        return Interval.of(self.gain(arm).groupby(level='seed').mean().tolist())

    def _sentence(self, kind: str) -> str:
        """Return the statement on a kind of masks. They help if no control shows the gain, and seeds and photos agree.

        The twin is the control of the same size; the cascade, which is smaller, may still be the better network.
        """
        own = self.gain(kind)
        of_seeds, of_photos = paired(own, self.gain(TWIN))
        ahead = f'z is {of_seeds.text(3, "+")} dB better than with the same network without masks'
        if math.isnan(of_seeds.low):
            return f'one seed says nothing yet: {ahead}.'
        if of_seeds.high < 0 and of_seeds.mean <= -LITTLE:
            return f'the masks do harm here: {ahead}.'
        if of_seeds.low <= 0:
            return f'no gain is shown: {ahead}{self._of_photos(of_photos, of_photos.low > 0)}.'
        if of_seeds.mean < LITTLE:
            return f'the gain is too small to matter: {ahead}.'
        for control, name in ((CASCADE, 'without fusion'), (f'{kind}{SHUFFLED}', "with another photo's masks")):
            if control in self._gains.columns.get_level_values('arm'):
                of_control, _ = paired(own, self.gain(control))
                if of_control.low <= 0:
                    beside = f'{of_control.text(3, "+")} dB better than a network that was trained {name}'
                    return f'{BETTER_ALONE.format(name)}: {ahead}, and {beside}.'
        if of_photos.low <= 0:
            return f'no gain is shown for all photos: {ahead}{self._of_photos(of_photos, True)}.'
        return f'the masks help here: {ahead}.'

    @staticmethod
    def _of_photos(interval: Interval, differs: bool) -> str:
        return f'; over photos, {interval.text(3, "+")} dB' if differs else ''
