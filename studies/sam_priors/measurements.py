"""The study's CSVs as frames: checked when read, and summarised as means with 95 % intervals, paired by seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.mask_verdict import CASCADE, TWIN, Verdict
from sapd_plugin.evaluation.statistics import half_width
from sapd_plugin.experiments.results import PLACE, read_csv

DIGITS = {'psnr': 3, 'ssim': 4, 'masks': 1}
REFERENCES = {'y': 'psnr_y', "z with another photo's masks": 'psnr_z_shuffled', 'z without masks': 'psnr_z_empty'}
COST = ['parameters', 'macs', 'milliseconds', 'over_stock', 'memory']
AGREEMENT = ['mIoU', 'covering', 'covered', 'matched IoU', 'human best', 'human mean', 'masks', 'coverage']


def summarise(values: pd.Series, by: Sequence[str]) -> pd.DataFrame:
    """Return mean, half width of the 95 % confidence interval (Student's t; NaN for one value) and count per level."""
    return values.dropna().groupby(level=list(by)).agg(mean='mean', half=half_width, count='count')


def overall(values: pd.Series) -> pd.Series:
    """Return mean, half and count of all values together, see `summarise`."""
    return summarise(pd.Series(values.to_numpy(), pd.Index([0] * len(values), name='all')), ['all']).loc[0]


def _trials(folder: Path) -> pd.DataFrame:
    """Read trial.csv with the columns that a verdict reads; those of the student's cell have the same names."""
    keys = ['table', 'trained with', 'trial', 'masks', 'photo']
    rows = read_csv(folder / 'trial.csv', keys, ['trial', 'gain', 'whole'])
    rows = rows[[*keys, 'gain', 'whole']].rename(columns={'trained with': 'arm', 'trial': 'seed'})
    order = rows['arm'].map(lambda arm: (arm not in (CASCADE, TWIN), arm))  # the controls first
    return rows.loc[order.sort_values(kind='stable').index]


def text(row: Mapping[str, float], digits: int = 3, signed: bool = True, bold: bool = False) -> str:
    """Return ``mean ± half`` of a row of `summarise` as text, or only the mean if there is no interval.

    With ``bold``, it is set in bold if the interval excludes zero. A half width that would round to zero gets one more
    digit, and so does its mean. Seeds whose differences are equal to the four decimals
    that are logged have no interval.

    >>> text({'mean': 0.00021, 'half': 0.00003}, 4), text({'mean': 0.0002, 'half': 0.0}, 4)
    ('+0.00021 ± 0.00003', '+0.0002 in each seed')
    """
    if round(row['half'], digits) == 0 < round(row['half'], digits + 1):
        digits += 1
    mean = round(row['mean'], digits) + 0.0  # no -0.000
    words = f'{mean:{"+" if signed and mean else ""}.{digits}f}'
    if mean and row['half'] < 1e-9:
        words += ' in each seed'
    elif not np.isnan(row['half']):
        words += f' ± {row["half"]:.{digits}f}'
    return f'**{words}**' if bold and abs(row['mean']) > row['half'] else words


class Study:
    """The measurements of the study.

    Attributes:
        cells: cells.csv, one row per trained student, test set and metric.
        setting, second_setting: CSVs of the same names, one row per setting that was tried for stock students.
        ideas: ideas.csv, one row per idea.
        ceilings: ceiling.csv, one row per weight of SPD and seed.
        segments: segmentation.csv, one row per image and version of it (degraded, restored or clean).
        trials: trial.csv, by table: what the trials of masks say.

    Args:
        folder: folder of the CSVs.

    Raises:
        SAPDError: a CSV is broken, or holds numbers that cannot be compared with each other.
    """

    def __init__(self, folder: Path) -> None:
        self.cells = read_csv(
            folder / 'cells.csv',
            [*PLACE, 'test', 'metric'],
            ['seed', 'value', 'images', 'iterations', 'training_seconds'],
            ['batch', *COST],
            ['protocol', 'quantise', 'sigma', 'masks', 'threads', 'commit', 'torch', 'basicsr', 'more'],
        )
        for same, by in (
            (['framework', 'size'], ['table', 'model']),
            (['iterations', 'batch', 'masks'], ['table', 'model', 'arm']),
            (['protocol', 'quantise', 'sigma', 'images'], ['table', 'test']),
        ):
            kinds = self.cells.groupby(by)[same].nunique(dropna=False)
            if (kinds > 1).any(axis=None):
                place, column = kinds.stack().idxmax()[:-1], kinds.stack().idxmax()[-1]
                raise SAPDError(
                    f'{folder / "cells.csv"}: {", ".join(place)} has several values of {column}, expected one.'
                )
        self.setting, self.second_setting = (
            read_csv(
                folder / f'{name}.csv',
                ['task', 'student', 'patch', 'iterations', 'learning rate', 'beta2'],
                [],
                [f'PSNR of seed {seed}' for seed in range(3)],
            )
            for name in ('setting', 'second_setting')
        )
        self.ideas = read_csv(folder / 'ideas.csv', ['idea'], [], texts=['expectation', 'arm', 'kept', 'why'])
        self.ceilings = read_csv(
            folder / 'ceiling.csv', ['weight', 'seed'], ['psnr', 'psnr_teacher', 'iterations', 'images']
        )
        if (self.ceilings[['psnr_teacher', 'iterations', 'images']].nunique() > 1).any():
            raise SAPDError(f'{folder / "ceiling.csv"}: found runs with several teachers, iterations or images.')
        self._teacher = read_csv(
            folder / 'teacher.csv', [*PLACE, 'kind', 'image'], [], ['psnr_z', *REFERENCES.values()]
        )
        self.segments = read_csv(folder / 'segmentation.csv', [*PLACE, 'test', 'photos', 'image'], [], AGREEMENT)
        self.trials = {table: Verdict(rows) for table, rows in _trials(folder).groupby('table', sort=False)}
        places = ['table', 'model', 'test', 'metric', 'seed']
        self._values = self.cells.pivot(index=places, columns='arm', values='value')
        self._differences: dict[tuple[str, str, str], pd.DataFrame] = {}

    def difference(self, arm: str, base: str, metric: str = 'psnr') -> pd.DataFrame:
        """Return ``arm`` minus ``base``, paired by seed, per table, model and test set (see `summarise`)."""
        key = arm, base, metric
        if key not in self._differences:
            gaps = (self._values[arm] - self._values[base]).xs(metric, level='metric')
            self._differences[key] = summarise(gaps, ['table', 'model', 'test'])
        return self._differences[key]

    def values(self, arm: str, table: str, model: str, test: str, metric: str = 'psnr') -> pd.Series:
        """Return what an arm was measured with on a test set, by seed; nothing if it was not measured."""
        place = table, model, test, metric
        if arm not in self._values or place not in self._values.index.droplevel('seed'):
            return pd.Series(dtype=float)
        return self._values.loc[place, arm].dropna()

    def gaps(self, arm: str, base: str, table: str, model: str, test: str, metric: str = 'psnr') -> pd.Series:
        """Return ``arm`` minus ``base`` on a test set by seed, for the seeds that both were measured with."""
        own, other = (self.values(each, table, model, test, metric) for each in (arm, base))
        return (own - other).dropna()

    def curves(self, table: str, model: str) -> pd.DataFrame:
        """Return PSNR on validation photos during training: a row per arm and seed, a column per iteration."""
        own = self.cells[(self.cells['table'] == table) & (self.cells['model'] == model)].drop_duplicates(PLACE)
        logs = [json.loads(more or '{}').get('training.curve', {}) for more in own['more']]
        frame = pd.DataFrame(logs, pd.MultiIndex.from_frame(own[['arm', 'seed']]))
        return frame.rename(columns=int).sort_index(axis='columns')

    def over(self, table: str, model: str, test: str, arm: str, base: str, metric: str = 'psnr') -> str:
        """Return the difference of two arms on a test set as text, bold if it is certain; '' if it was not measured."""
        found = self.difference(arm, base, metric)
        place = (table, model, test)
        return text(found.loc[place], DIGITS[metric], bold=True) if place in found.index else ''

    def gain(self, table: str, model: str, test: str, base: str = 'stock', arm: str = 'spd_sgr') -> str:
        """Return a difference in PSNR as text for a sentence.

        Raises:
            SAPDError: it was not measured.
        """
        words = self.over(table, model, test, arm, base).strip('*')
        if not words:
            raise SAPDError(f'cells.csv: found no seed of {table}, {model}, {test} with both {arm} and {base}.')
        return f'{words} dB'

    def mean(self, table: str, model: str, test: str, arm: str, metric: str = 'psnr') -> str:
        """Return an arm's mean over seeds as text."""
        return f'{self._values.loc[(table, model, test, metric), arm].mean():.{DIGITS[metric]}f}'

    def arms(self, table: str) -> pd.DataFrame:
        """Return model, arm, seeds, iterations, mean seconds, and ``comparable``: trained for as long as stock."""
        groups = self.cells[self.cells['table'] == table].groupby(['model', 'arm'], as_index=False)
        frame = groups.agg(
            seeds=('seed', 'nunique'), iterations=('iterations', 'first'), seconds=('training_seconds', 'mean')
        )
        stock = frame[frame['arm'] == 'stock'].set_index('model')['iterations']
        frame['comparable'] = (frame['arm'] != 'stock') & (frame['iterations'] == frame['model'].map(stock))
        frame = frame.sort_values('arm', key=lambda names: names.replace('stock', ''))
        return frame.sort_values('model', ascending=False, kind='stable')

    def teacher(self, *detailed: str) -> pd.DataFrame:
        """Return how far z is ahead of `REFERENCES`, over whole tiles, and by region kind for ``detailed`` tables."""
        frame = self._teacher[(self._teacher['kind'] == 'whole') | self._teacher['table'].isin(detailed)]
        by = ['table', 'arm', 'kind']
        shown = frame.groupby(by).agg(images=('image', 'nunique'), seeds=('seed', 'nunique'))
        for name, column in REFERENCES.items():
            gaps = (frame['psnr_z'] - frame[column]).groupby([frame[key] for key in (*by, 'seed')]).mean()
            shown[f'over {name}'] = summarise(gaps, by).apply(text, axis=1)
        return shown.reset_index()

    def losses(self, arm: str) -> pd.DataFrame:
        """Return SPD's and SGR's share of the student's loss, and how far z is ahead of y in dB, as logged."""
        frame = self.cells[self.cells['arm'] == arm].drop_duplicates(PLACE).set_index(['table', 'model', 'seed'])
        logs = pd.DataFrame(
            [json.loads(more or '{}').get('training.logged', {}) for more in frame['more']], frame.index
        )
        # SPF's loss trains only the second network.
        total = logs.filter(regex='^l_').drop(columns='l_spf').sum(axis=1)
        ahead = logs['psnr_refined'] - logs['psnr_restored']
        shown = pd.DataFrame({'spd': logs['l_spd'] / total, 'sgr': logs['l_sgr'] / total, 'ahead': ahead})
        return shown.groupby(level=['table', 'model']).mean().reset_index()

    def ceiling(self) -> pd.DataFrame:
        """Return mean PSNR by SPD's weight under a teacher that is far ahead, and the gain over weight 0."""
        psnr = self.ceilings.set_index(['weight', 'seed'])['psnr']
        stock = psnr.xs('0', level='weight')
        gains = psnr - psnr.index.get_level_values('seed').map(stock).to_numpy()
        means = summarise(psnr, ['weight'])
        shown = pd.DataFrame({'seeds': means['count'], 'PSNR': means.apply(text, axis=1, signed=False)})
        shown['over weight 0'] = summarise(gains, ['weight']).apply(text, axis=1)
        shown.loc['0', 'over weight 0'] = ''
        return shown.rename_axis('weight').reset_index()

    def segmentation(self, table: str) -> pd.DataFrame:
        """Return the agreement per version of a table's images, and `segmented`; nothing if it was not measured."""
        rows = self._segments(table)
        if rows.empty:
            return rows
        means = rows.groupby(level=['photos', 'seed']).mean().groupby(level='photos').mean()
        shown = pd.DataFrame(index=['degraded', 'stock', 'sapd', 'clean', 'sapd minus stock'], columns=AGREEMENT)
        for name in AGREEMENT:
            digits = DIGITS.get(name, 3)
            written = means[name].map(lambda mean, digits=digits: '' if np.isnan(mean) else f'{mean:.{digits}f}')
            shown[name] = [*written.reindex(shown.index[:-1]), text(self.segmented(table, name), digits)]
        return shown.rename_axis('photos').reset_index()

    def segmented(self, table: str, measure: str) -> pd.Series:
        """Return SAPD's agreement minus stock's: see `summarise`; its interval is over seeds, or images of one seed."""
        rows = self._segments(table)[measure]
        gaps = rows.xs('sapd', level='photos') - rows.xs('stock', level='photos')
        if gaps.index.get_level_values('seed').nunique() > 1:
            gaps = gaps.groupby(level='seed').mean()
        return overall(gaps)

    def _segments(self, table: str) -> pd.DataFrame:
        rows = self.segments[self.segments['table'] == table]
        return rows.set_index(['photos', 'seed', 'image'])[AGREEMENT]

    def ideas_of(self, table: str, model: str, test: str) -> pd.DataFrame:
        """Return each arm's seeds, mean PSNR, difference from stock (the largest first) and mean seconds."""
        arms = self.arms(table)
        arms = arms[arms['model'] == model].assign(
            psnr=lambda rows: [float(self.mean(table, model, test, arm)) for arm in rows['arm']],
            gap=lambda rows: [self.gaps(arm, 'stock', table, model, test).mean() for arm in rows['arm']],
            over=lambda rows: [
                (arm != 'stock' and self.over(table, model, test, arm, 'stock')) or '' for arm in rows['arm']
            ],
        )
        return arms.sort_values('gap', ascending=False, kind='stable')

    def cost(self) -> pd.DataFrame:
        """Return the cost of a student: size, and medians of time and memory."""
        frame = self.cells.drop_duplicates(PLACE).dropna(subset='milliseconds')
        frame = frame.assign(training=np.where(frame['masks'] == '', 'stock', 'SAPD'))
        return frame.groupby(['model', 'training'], as_index=False)[COST].median()
