"""Reproduce the tables of papers: list them, run or resume their cells with the frameworks' own tools, and report.

sapd reproduce list [TABLE ...]
sapd reproduce run TABLE [CELL ...] --framework basicsr|mmagic [--dry-run] [--gpus 8 [--slurm '-p gpu ...']]
sapd reproduce report [TABLE ...]

A CELL is MODEL/SIZE/ARM/SEED with wildcards or omitted parts: 'Restormer/small', '*/full/stock', 'NAFNet/tiny/spd*'.
TABLE may be a group of tables; then a CELL begins with its table, and cells are run seed by seed. Several terminals
that run the same command share the work.
The command that a table names (made_by) makes the data below --data. A run can be interrupted at any time; rerun the
same command to resume.
Exit status: 0 done, 2 a mistake in the command, the data or a config, 75 stopped by --stop-after, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sapd_plugin.cli.common import add_stop_option, check_counts, run_command, stopping
from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.experiments.catalogue import Catalogue, Cell, read_catalogue, select_cells
from sapd_plugin.experiments.definitions import FRAMEWORKS, MASK_SOURCES, Launch, Settings, Table
from sapd_plugin.experiments.plan import Resolver, check, load_framework, plan
from sapd_plugin.experiments.report import print_tables, write_reports
from sapd_plugin.experiments.results import iter_results, read_finished
from sapd_plugin.experiments.runner import Task, run_chains, runs_elsewhere


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the three commands."""
    commands = parser.add_subparsers(dest='command', required=True)
    show = commands.add_parser('list', help='show the tables, their yardsticks, and the results so far')
    run = commands.add_parser('run', help='run or resume cells', allow_abbrev=False)
    report = commands.add_parser('report', help='write Markdown, CSV, LaTeX and pictures')
    for command in (show, report):
        command.add_argument('tables', nargs='*', metavar='TABLE', help='tables or groups (default: all)')
    for command in (show, run, report):
        command.add_argument('--output', type=Path, default=Path('runs/tables'), help='results (default: %(default)s)')
        command.add_argument(
            '--definitions', type=Path, help='folder with your own tables, models and arms, besides the shipped ones'
        )
    run.add_argument('table', metavar='TABLE')
    run.add_argument('cells', nargs='*', metavar='CELL', help='cells to run (default: all of the table)')
    run.add_argument('--framework', required=True, help=' or '.join(FRAMEWORKS))
    run.add_argument('--done', type=Path, metavar='CSV', help='collected results; cells that it holds are skipped')
    add_stop_option(run)
    run.add_argument('--dry-run', action='store_true', help='print the commands without running them')
    run.add_argument('--gpus', type=int, default=1, help='training processes, one GPU each; they share the batch')
    run.add_argument('--slurm', metavar='ARGUMENTS', help='start training with srun and these arguments')
    run.add_argument('--data', type=Path, default=Path('datasets'), help='data sets (default: %(default)s)')
    run.add_argument('--checkpoints', type=Path, default=Path('checkpoints'), help="authors' (default: %(default)s)")
    run.add_argument('--tests', nargs='+', default=[], metavar='SET', help='test on these sets only')
    run.add_argument('--iterations', type=int, help='length of training; scales the schedule (default: as published)')
    run.add_argument('--batch', type=int, help='images per step over all processes (default: as published)')
    run.add_argument('--masks', type=Path, help='a finished mask store (default: masks are extracted)')
    run.add_argument(
        '--masks-of',
        default='restored',
        help='images that masks are extracted from: restored (by the stock student; default), target or input',
    )
    run.add_argument('--segmenter', default='sam')
    run.add_argument('--sam-checkpoint', type=Path, help='any SAM or MobileSAM checkpoint')
    run.add_argument('--preset', help='SAM: fast (default) or stock')
    run.add_argument('--vgg-checkpoint', type=Path, help='VGG-19 weights, for SGR')
    run.add_argument('--save-images', action='store_true', help='keep the restored test images')


def run(options: argparse.Namespace) -> None:
    """Run one of the three commands."""
    commands = {'list': list_tables, 'run': run_cells, 'report': report_tables}
    commands[options.command](options, read_catalogue(options.definitions))


def list_tables(options: argparse.Namespace, catalogue: Catalogue) -> None:
    """Print the named tables, or all."""
    tables = [table for name in options.tables or catalogue.tables for table in catalogue.select(name)]
    print_tables(catalogue, tables, list(iter_results(options.output.resolve())))


def report_tables(options: argparse.Namespace, catalogue: Catalogue) -> None:
    """Write the reports of the named tables, or of all that have results."""
    root = options.output.resolve()
    results = list(iter_results(root))
    measured = dict.fromkeys(r.cell.table for r in results if r.cell.table in catalogue.tables)
    tables = [table for name in options.tables or measured for table in catalogue.select(name)]
    write_reports(catalogue, tables, results, root)


def run_cells(options: argparse.Namespace, catalogue: Catalogue) -> None:
    """Run or resume cells."""
    tables, framework = catalogue.select(options.table), load_framework(options.framework)
    resolver = Resolver(catalogue, framework, _settings(options, tables))
    cells = [cell for table in tables for cell in catalogue.cells(table, framework.framework)]
    if not cells:
        raise SAPDError(f'--framework: no model of {options.table} has a config of {framework.framework}.')
    grouped = options.table not in {table.name for table in tables}
    if grouped:
        cells.sort(key=lambda cell: cell.seed)  # wherever it is interrupted, as many seeds as possible are complete
    cells = select_cells(cells, options.cells, grouped)
    if options.done is not None:
        cells = _without_done(options.done, resolver, cells)
    chains = [list(plan(resolver, cell)) for cell in cells]
    tasks = {task.lock: task for chain in chains for task in chain}
    if options.dry_run:
        print('\n'.join(task.show() for task in tasks.values()))
        return
    for name in dict.fromkeys(cell.table for cell in cells):
        check([resolver.run(cell) for cell in cells if cell.table == name])
    _run_for(options.stop_after, chains, list(tasks.values()))


def _run_for(minutes: float | None, chains: Sequence[Sequence[Task]], tasks: Sequence[Task]) -> None:
    """Run the chains of the tasks, for some minutes at most, see `stopping`."""
    nothing = 'no task ended and no training saved a state to resume from'
    besides = (
        ', or shorter intervals between saves (BasicSR: logger.save_checkpoint_freq); in a table with resume: false, a '
        'whole training has to fit'
    )
    with stopping(minutes, partial(_kept, tasks), nothing, besides):
        run_chains(chains)


def _kept(tasks: Sequence[Task]) -> list[object]:
    """Return what changes when a task keeps work; it always does where another process runs one, which may still."""
    return [object() if runs_elsewhere(task) else task.kept() for task in tasks]


def _without_done(done: Path, resolver: Resolver, cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that a CSV does not hold with all their tests."""
    measured, left = read_finished(done), []
    for cell in cells:
        run, results = resolver.run(cell), measured.get(cell)
        if results is None or not all(results.holds(test_set.name, run.table) for test_set in run.test_sets):
            left.append(cell)
    print(f'{len(cells) - len(left)} of {len(cells)} cells are in {done}', flush=True)
    return left


def _settings(options: argparse.Namespace, tables: Sequence[Table]) -> Settings:
    import torch

    check_choice('--masks-of', options.masks_of, MASK_SOURCES)
    for table in tables:
        for test in options.tests:
            check_choice('--tests', test, table.tests)
    check_counts(options, gpus=1, iterations=1, batch=1)
    for flag in ('masks', 'sam_checkpoint', 'vgg_checkpoint'):
        path = getattr(options, flag)
        if path is not None and not path.exists():
            raise SAPDError(f'--{flag.replace("_", "-")}: found no {path}.')
    segmenter = ['--segmenter', options.segmenter]
    segmenter += ['--checkpoint', str(options.sam_checkpoint.resolve())] if options.sam_checkpoint else []
    segmenter += ['--preset', options.preset] if options.preset is not None else []
    return Settings(
        root=options.output.resolve(),
        data=options.data.resolve(),
        checkpoints=options.checkpoints.resolve(),
        launch=Launch(options.gpus, options.slurm),
        cuda=torch.cuda.is_available(),
        iterations=options.iterations,
        batch=options.batch,
        tests=tuple(options.tests),
        masks=options.masks and options.masks.resolve(),
        mask_source=options.masks_of,
        segmenter=tuple(segmenter),
        vgg=options.vgg_checkpoint and options.vgg_checkpoint.resolve(),
        save_images=options.save_images,
    )


main = partial(run_command, 'reproduce', __doc__, add_arguments, run)
