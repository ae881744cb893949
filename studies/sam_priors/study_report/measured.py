"""What the study has measured, as estimates over seeds. Numbers that may not be compared are refused, not compared."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.experiments.results import PROTOCOL, Results
from sapd_plugin.experiments.statistics import Estimate, estimate, paired

DIGITS = {'psnr': 3, 'ssim': 4}
UNITS = {'psnr': ' dB', 'ssim': ''}
STOCK = 'stock'
UNMEASURED = 'not measured yet'


@dataclass(frozen=True)
class Student:
    """Results of one network in one table: its arms and seeds."""

    name: str
    results: tuple[Results, ...]

    @property
    def arms(self) -> list[str]:
        """Their names; stock comes first."""
        return sorted({r.cell.arm for r in self.results}, key=lambda arm: (arm != STOCK, arm))

    @property
    def tests(self) -> list[str]:
        """The test sets that any cell was tested on, by name."""
        return sorted({test for r in self.results for test in r.tests})

    def of(self, arm: str) -> list[Results]:
        """An arm's results.

        Raises:
            SAPDError: its seeds were trained differently.
        """
        found = [r for r in self.results if r.cell.arm == arm]
        for key in ('iterations', 'batch', 'masks'):
            _alike(f'{self.name}, arm {arm}: seeds with {key}', [r.training.get(key) for r in found])
        return found

    def iterations(self, arm: str) -> int | None:
        """Of an arm's training."""
        return next((r.training.get('iterations') for r in self.of(arm)), None)

    def values(self, arm: str, test: str, metric: str) -> dict[int, float]:
        """An arm's measurements by seed.

        Raises:
            SAPDError: the test set was measured by several protocols, or over several numbers of images.
        """
        tested = [r for r in self.results if test in r.tests]
        for key in (*PROTOCOL, 'images'):
            _alike(f'{self.name}, {test}: {key}', [r.tests[test].get(key) for r in tested])
        return {r.cell.seed: r.tests[test][metric] for r in self.of(arm) if metric in r.tests.get(test, {})}

    def mean(self, arm: str, test: str, metric: str) -> Estimate | None:
        """An arm's mean over seeds."""
        return estimate(list(self.values(arm, test, metric).values()))

    def difference(self, arm: str, base: str, test: str, metric: str) -> Estimate | None:
        """An arm less another, paired by seed, whatever the length of their trainings."""
        return paired(self.values(arm, test, metric), self.values(base, test, metric))

    def gain(self, arm: str, test: str, metric: str) -> Estimate | None:
        """An arm less stock; None where stock was not trained for as many iterations."""
        if arm == STOCK or self.iterations(arm) != self.iterations(STOCK):
            return None
        return self.difference(arm, STOCK, test, metric)


def students(found: Sequence[Results], table: str) -> list[Student]:
    """The networks of a table, by name; size and framework are in the name where they are needed to tell them apart."""
    mine = [r for r in found if r.cell.table == table]
    places = sorted({(r.cell.model, r.cell.size, r.cell.framework) for r in mine})
    made = []
    for place in places:
        for length in (1, 2, 3):
            if sum(other[:length] == place[:length] for other in places) == 1:
                break
        members = tuple(r for r in mine if (r.cell.model, r.cell.size, r.cell.framework) == place)
        made.append(Student('/'.join(place[:length]), members))
    return made


def student(found: Sequence[Results], table: str, name: str) -> Student | None:
    """A network of a table: MODEL, MODEL/SIZE or MODEL/SIZE/FRAMEWORK; None where nothing of it was measured.

    Raises:
        SAPDError: several fit.
    """
    parts = name.split('/')
    fit = []
    for one in students(found, table):
        cell = one.results[0].cell
        if [cell.model, cell.size, cell.framework][: len(parts)] == parts:
            fit.append(one)
    if len(fit) > 1:
        raise SAPDError(f'{table} {name}: several were measured, name one of {", ".join(one.name for one in fit)}.')
    return fit[0] if fit else None


def check_metric(metric: str) -> None:
    """Refuse what is no metric of the study."""
    check_choice('METRIC', metric, DIGITS)


def number(value: Estimate | None, metric: str, signed: bool = False) -> str:
    """Write an estimate of a metric; nothing for none."""
    return estimated(value, DIGITS[metric], signed)


def estimated(value: Estimate | None, digits: int, signed: bool = False) -> str:
    """Write an estimate; nothing for none."""
    if value is None:
        return ''
    mean = round(value.mean, digits) + 0.0  # no -0.00
    text = f'{mean:{"+" if signed and mean else ""}.{digits}f}'
    return text if value.half is None else f'{text} ± {value.half:.{digits}f}'


def _alike(what: str, values: Iterable[Hashable]) -> None:
    kinds = list(dict.fromkeys(values))
    if len(kinds) > 1:
        raise SAPDError(f'{what} {" and ".join(map(str, kinds))} cannot be compared; expected one.')
