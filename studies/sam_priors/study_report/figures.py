"""Forest plots: gains over stock with their intervals, a figure a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.statistics import Estimate
from studies.sam_priors.study_report.about import COMMAND, footnote
from studies.sam_priors.study_report.measured import STOCK, UNMEASURED, students

Panels = Mapping[str, Mapping[str, Mapping[str, Estimate]]]
"""Gains by test set, network and arm."""


def panels(found: Sequence[Results], table: str) -> Panels:
    """PSNR gains over stock of all arms of a table; without test sets where there are none."""
    made: dict[str, dict[str, dict[str, Estimate]]] = {}
    for one in students(found, table):
        for test in one.tests:
            for arm in one.arms:
                gain = one.gain(arm, test, 'psnr')
                if gain is not None:
                    made.setdefault(test, {}).setdefault(one.name, {})[arm] = gain
    return dict(sorted(made.items()))


def file_name(table: str) -> str:
    """Of a table's figure."""
    return f'gains_{table}.png'


def caption(found: Sequence[Results], folder: Path, table: str) -> str:
    """A figure as Markdown, and what is to be known of it."""
    if not panels(found, table):
        return UNMEASURED
    return f'![Gains over stock, {table}]({folder.name}/{file_name(table)})\n\n{describe(found, table)}'


def describe(found: Sequence[Results], table: str) -> str:
    """What a figure shows, in words."""
    mine = [r for r in found if r.cell.table == table]
    return (
        f'{table}: PSNR of each arm less that of stock with the same seed, mean over seeds and its 95 % confidence '
        f"interval (Student's t); open: one seed, no interval. Drawn from `cells.csv` by `{COMMAND}`. {footnote(mine)}"
    )


def digest(found: Sequence[Results], table: str) -> str:
    """A fingerprint of what is drawn and of how it is drawn.

    Pictures of other versions of matplotlib differ in their bytes, so that these cannot say whether one is up to date.
    """
    data = {
        test: {name: {arm: [g.mean, g.half, g.count] for arm, g in arms.items()} for name, arms in networks.items()}
        for test, networks in panels(found, table).items()
    }
    how = Path(__file__).read_text(encoding='utf-8') + describe(found, table)
    return hashlib.sha256((json.dumps(data) + how).encode()).hexdigest()


def up_to_date(path: Path, wanted: str) -> bool:
    """Whether a figure is there and has a fingerprint."""
    if not path.is_file():
        return False
    with Image.open(path) as image:
        return image.info.get('Comment') == wanted


def draw(path: Path, found: Sequence[Results], table: str) -> None:
    """Draw a table's figure: a panel a test set, a line an arm, a colour a network."""
    import matplotlib as mpl

    mpl.use('Agg')
    from matplotlib import pyplot as plt

    shown = panels(found, table)
    arms = sorted({arm for networks in shown.values() for gains in networks.values() for arm in gains})
    names = sorted({name for networks in shown.values() for name in networks})
    height = 1.1 + 0.16 * len(arms) * (len(names) + 1)
    figure, grid = plt.subplots(
        1, len(shown), figsize=(2 + 2.8 * len(shown), height), sharey=True, layout='constrained', squeeze=False
    )
    for axes, (test, networks) in zip(grid[0], shown.items()):
        axes.axvline(0, color='black', linewidth=0.8)
        for name, gains in networks.items():
            shift, colour = (names.index(name) - (len(names) - 1) / 2) * 0.8 / len(names), f'C{names.index(name)}'
            for arm, gain in gains.items():
                face = 'none' if gain.half is None else colour
                axes.errorbar(
                    gain.mean,
                    arms.index(arm) + shift,
                    xerr=gain.half,
                    fmt='o',
                    markersize=4,
                    capsize=2,
                    color=colour,
                    markerfacecolor=face,
                    label=name,
                )
        axes.set_title(test, fontsize=9)
        axes.locator_params(axis='x', nbins=5)
        axes.set_xlabel(f'PSNR over {STOCK} (dB)', fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(axis='x', alpha=0.3)
    grid[0][0].set(yticks=range(len(arms)), yticklabels=arms, ylim=(len(arms) - 0.5, -0.5))
    handles = {label: handle for axes in grid[0] for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), fontsize=8, loc='outside lower center', ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {'Comment': digest(found, table), 'Description': describe(found, table), 'Software': None}
    figure.savefig(path, dpi=130, metadata=about)
    plt.close(figure)
