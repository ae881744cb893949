"""Tasks that measure a run's student: tests, and what inference costs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.cost import compare
from sapd_plugin.evaluation.networks import build_network_from, load_student
from sapd_plugin.experiments.commands import execute
from sapd_plugin.experiments.run import EvalSet, Run
from sapd_plugin.experiments.tasks import RunTask
from sapd_plugin.metrics import canonical_color

COST_SIZE = (256, 256)  # height and width of the image that inference is measured on, as papers have it


class TestTask(RunTask):
    """Test a run's student on one set through the framework's own tool."""

    __test__ = False  # pytest takes the name for a test's
    verb = 'test'

    def __init__(self, run: Run, test_set: EvalSet) -> None:
        super().__init__(run, f' on {test_set.name}')
        self.test_set = test_set
        self._config = self.folder / f'test_{test_set.name}{run.suffix}'

    def done(self) -> bool:
        """Whether the set was measured by the table's protocol."""
        return self.results.holds(self.test_set.name, self.of.table)

    def command(self) -> Sequence[str]:
        """Return the command that tests."""
        return self.of.test_command(self._config, self.test_set)

    def work(self) -> None:
        """Test, and keep the metrics with the protocol that they are by."""
        name, table = self.test_set.name, self.of.table
        self._config.write_text(self.of.dump(self.of.test_options(self.test_set)), encoding='utf-8')
        output = execute(self.command(), self.folder, self.folder / f'test_{name}.txt', title=self.title)
        metrics = self.of.read_metrics(self.test_set, output)
        if 'psnr' not in metrics:
            raise SAPDError(f'{self._config}: the test printed no PSNR. Its output:\n{output[-2000:]}')
        found = self.results
        found.tests[name] = {
            **metrics,
            'protocol': table.protocol,
            'quantise': table.quantise,
            'sigma': table.sigma,
            'images': len(list((self.test_set.folder / 'target').iterdir())),
        }
        found.save(self.folder)


class CostTask(RunTask):
    """Measure what inference costs, beside the stock student where that is there.

    Args:
        run: the run.
        stock: the stock run with the first seed; may be ``run`` itself.
    """

    verb = 'cost'

    def __init__(self, run: Run, stock: Run) -> None:
        super().__init__(run)
        self.stock = stock
        self._channels = 1 if canonical_color(run.table.protocol) == 'gray' else 3

    def done(self) -> bool:
        """Whether it was measured."""
        return bool(self.results.cost)

    @property
    def _students(self) -> list[Path]:
        own, stock = self.of.student, self.stock.student
        return [stock, own] if stock != own and stock.is_file() else [own]

    def command(self) -> Sequence[str]:
        """Return the command that measures the same."""
        options = ['--framework', self.of.cell.framework, '--size', *map(str, COST_SIZE)]
        files = [self.of.config, *self._students]
        channels = ['--channels', str(self._channels), '--json']
        return [sys.executable, '-m', 'sapd_plugin.cli.inference_cost', *map(str, files), *options, *channels]

    def work(self) -> None:
        """Measure in this process."""
        framework, config = self.of.cell.framework, self.of.config
        networks = {str(path): load_student(build_network_from(framework, config), path) for path in self._students}
        costs = list(compare(networks, (1, self._channels, *COST_SIZE)).values())
        over_stock = costs[-1].milliseconds / costs[0].milliseconds if costs[1:] else None
        found = self.results
        found.cost = {**costs[-1].as_dict(), 'over_stock': over_stock}
        found.save(self.folder)
