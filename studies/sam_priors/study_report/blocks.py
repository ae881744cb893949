"""The kinds of blocks in docs/study.md: ``<!-- study: NAME ARGUMENTS -->``, and what each says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.experiments.collected import read
from sapd_plugin.experiments.results import Results
from studies.sam_priors.study_report import about, ceiling, comparisons, losses, segmentation, sheets
from studies.sam_priors.study_report.figures import caption


@dataclass(frozen=True)
class Kind:
    """A kind of block.

    Attributes:
        make: from results, the study's folder and the arguments to Markdown.
        arguments: names of those that are needed.
        more: name of those that may follow, any number of them; None: none may.
        inline: the text goes on in the middle of a sentence.
    """

    make: Callable[..., str]
    arguments: tuple[str, ...] = ()
    more: str | None = None
    inline: bool = False

    def usage(self, name: str) -> str:
        """How it is written."""
        return ' '.join([name, *self.arguments, *([f'[{self.more} ...]'] if self.more else [])])


KINDS: Mapping[str, Kind] = {
    'gains': Kind(comparisons.gains, ('TABLE', 'MODEL')),
    'against': Kind(comparisons.against, ('TABLE', 'MODEL', 'ARM', 'BASE')),
    'value': Kind(comparisons.value, ('TABLE', 'MODEL', 'ARM', 'BASE', 'TEST', 'METRIC'), inline=True),
    'mean': Kind(comparisons.mean, ('TABLE', 'MODEL', 'ARM', 'TEST', 'METRIC'), inline=True),
    'seeds': Kind(comparisons.seeds, ('TABLE', 'MODEL', 'ARM', 'BASE', 'TEST'), inline=True),
    'cost': Kind(about.cost, more='TABLE'),
    'settings': Kind(about.settings, more='TABLE'),
    'figure': Kind(caption, ('TABLE',)),
    'losses': Kind(losses.losses, more='TABLE'),
    'ideas': Kind(sheets.ideas),
    'teacher': Kind(sheets.teacher, more='KIND'),
    'segmentation': Kind(segmentation.segmentation),
    'sheet': Kind(sheets.sheet, ('NAME',)),
    'ceiling': Kind(ceiling.ceiling),
    'ceiling_value': Kind(ceiling.ceiling_value, ('WEIGHT',), inline=True),
}


def results_of(folder: Path) -> list[Results]:
    """What ``cells.csv`` of a study holds; nothing where it is not there yet."""
    path = folder / 'cells.csv'
    return read(path) if path.is_file() else []


def make_block(found: list[Results], folder: Path, words: str) -> str:
    """Make the text between the markers of a block.

    Args:
        found: all that was measured.
        folder: of the study, for its other CSVs.
        words: of the first marker: a kind and its arguments.

    Raises:
        SAPDError: an unknown kind, another number of arguments, or numbers that cannot be compared.
    """
    name, *arguments = words.split()
    check_choice('study', name, KINDS)
    kind = KINDS[name]
    if len(arguments) < len(kind.arguments) or (not kind.more and len(arguments) > len(kind.arguments)):
        raise SAPDError(f"study: found '{words}', expected '{kind.usage(name)}'.")
    text = kind.make(found, folder, *arguments)
    return text if kind.inline else f'\n\n{text}\n\n'
