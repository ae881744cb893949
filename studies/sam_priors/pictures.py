"""The figures of the study's page: differences with their intervals. A figure holds a digest of its numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from studies.sam_priors.measurements import text

# What a row of a figure is named by; a figure has some of these columns.
LABELS = ['panel', 'group', 'row', 'model']
# Meaning, colour and marker of a difference: markers tell them apart without colour.
STYLES = [
    ('interval above zero', '#1a7f37', 'o'),
    ('interval includes zero', '#6b7280', 's'),
    ('interval below zero', '#b3261e', 'D'),
]


def digest(frame: pd.DataFrame) -> str:
    """Return a fingerprint of the numbers that a figure shows; image files differ between versions of matplotlib."""
    numbers = frame[['mean', 'half']].round(6) + 0.0  # no -0.0
    labels = frame[[name for name in LABELS if name in frame]]
    return hashlib.sha256(labels.join(numbers).to_csv(index=False).encode()).hexdigest()


def is_current(path: Path, frame: pd.DataFrame) -> bool:
    """Return whether a figure exists and was drawn from these numbers."""
    if not path.is_file():
        return False
    with Image.open(path) as image:
        return image.info.get('Comment') == digest(frame)


def draw(path: Path, frame: pd.DataFrame) -> None:
    """Draw differences with their intervals: in groups if the frame has the column ``group``, else by student."""
    figure = grouped(frame) if 'group' in frame else by_model(frame)
    figure.savefig(path, dpi=130, metadata={'Comment': digest(frame), 'Software': None})


def by_model(frame: pd.DataFrame) -> Figure:
    """Return a figure with one panel per ``panel`` and one colour per student."""
    panels, rows, models = (list(dict.fromkeys(frame[name])) for name in ('panel', 'row', 'model'))
    size = (2.4 + 2.6 * len(panels), 1.2 + 0.2 * len(rows) * len(models))
    figure = Figure(figsize=size, layout='constrained')
    (axes_of_panels,) = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)
    rows = sorted(rows) if 'arm' in frame else rows
    for axes, panel in zip(axes_of_panels, panels):
        axes.axvline(0, color='black', linewidth=0.8)
        for number, model in enumerate(models):
            own = frame[(frame['panel'] == panel) & (frame['model'] == model)]
            heights = [rows.index(row) + (number - (len(models) - 1) / 2) * 0.3 for row in own['row']]
            style = {'fmt': 'o', 'markersize': 4, 'capsize': 2, 'color': f'C{number}', 'label': model}
            axes.errorbar(own['mean'], heights, xerr=own['half'], **style)
        axes.set_title(panel, fontsize=9)
        axes.set_xlabel('difference in PSNR (dB)', fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(axis='x', alpha=0.3)
    axes_of_panels[0].set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
    handles = {label: handle for axes in axes_of_panels for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), fontsize=8, loc='outside lower center', ncols=len(models))
    return figure


def grouped(frame: pd.DataFrame) -> Figure:
    """Return a figure with one panel per ``panel``; its rows have headings, and each row ends with its numbers."""
    panels = list(dict.fromkeys(frame['panel']))
    lines = max(len(own) + own['group'].nunique() for _, own in frame.groupby('panel'))
    figure = Figure(figsize=(4.9 * len(panels), 1.4 + 0.21 * lines), layout='constrained')
    figure.get_layout_engine().set(wspace=0.06)
    (axes_of_panels,) = figure.subplots(1, len(panels), sharex=True, squeeze=False)
    for axes, panel in zip(axes_of_panels, panels):
        _panel(axes, frame[frame['panel'] == panel], lines)
        axes.set_title(panel, fontsize=10, pad=8)
    shown = [style for style in STYLES if style in {_style(row) for row in frame.to_dict('records')}]
    handles = [Line2D([], [], color=color, marker=marker, markersize=5, label=name) for name, color, marker in shown]
    handles.append(Line2D([], [], color='black', linewidth=0.8, linestyle=':', label='the gain that we looked for'))
    figure.legend(handles=handles, fontsize=9, loc='outside lower center', ncols=2 * len(panels), frameon=False)
    return figure


def _panel(axes: Axes, own: pd.DataFrame, lines: int) -> None:
    axes.axvline(0, color='black', linewidth=0.8)
    axes.axvline(own['looked for'].iloc[0], color='black', linewidth=0.8, linestyle=':')
    names = []
    for group, rows in own.groupby('group', sort=False):
        names.append(str(group))
        for row in rows.to_dict('records'):
            _, color, marker = _style(row)
            style = {'fmt': marker, 'markersize': 4, 'capsize': 2, 'color': color}
            axes.errorbar(row['mean'], len(names), xerr=row['half'], **style)
            style = {'va': 'center', 'fontsize': 9, 'color': color, 'transform': axes.get_yaxis_transform()}
            axes.text(1.02, len(names), text(row).replace('-', '\N{MINUS SIGN}'), **style)
            names.append(row['row'])
    axes.set_yticks(range(len(names)), names)
    for label, name in zip(axes.get_yticklabels(), names):
        label.set_fontweight('bold' if name in set(own['group']) else 'normal')
    axes.set_ylim(lines - 0.4, -0.6)
    axes.tick_params(labelsize=9)
    axes.tick_params(axis='y', length=0)
    axes.set_xlabel('difference in PSNR (dB)', fontsize=9)
    axes.grid(axis='x', alpha=0.3)
    axes.spines[['top', 'right', 'left']].set_visible(False)


def _style(row: Mapping[str, float]) -> tuple[str, str, str]:
    if abs(row['mean']) <= row['half']:
        return STYLES[1]
    return STYLES[0] if row['mean'] > 0 else STYLES[2]
