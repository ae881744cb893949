"""The tables of papers: show them, run or resume their cells through the frameworks' own tools, report.

python tools/reproduce.py list [TABLE ...]
python tools/reproduce.py run TABLE [CELL ...] --framework basicsr|mmagic [--dry-run] [--gpus 8 [--slurm '-p gpu ...']]
python tools/reproduce.py report [TABLE ...]

A CELL is MODEL/SIZE/ARM/SEED, parts with wildcards or left out: 'Restormer/small', '*/full/stock', 'NAFNet/tiny/spd*'.
TABLE may be a group of tables; then a CELL begins with its table, and cells are run seed by seed. The same command in
several terminals shares the work.
Data lie below --data as the tool that a table names (made_by) makes them. A run may be stopped at any time; the same
command goes on.
Exit status: 0 done, 2 a mistake in the command, the data or a config, 130 stopped.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.experiments import listing
from sapd_plugin.experiments.catalogue import Catalogue, Cell, read_catalogue, select_cells
from sapd_plugin.experiments.collected import finished
from sapd_plugin.experiments.definitions import FRAMEWORKS, MASK_SOURCES, Table
from sapd_plugin.experiments.framework import Launch
from sapd_plugin.experiments.frameworks import load_framework
from sapd_plugin.experiments.plan import chain
from sapd_plugin.experiments.preflight import check
from sapd_plugin.experiments.reporting import write_reports
from sapd_plugin.experiments.results import iter_results
from sapd_plugin.experiments.run import Recipes
from sapd_plugin.experiments.runner import run_chains, unique
from sapd_plugin.experiments.settings import Settings

warnings.filterwarnings('ignore', message='pkg_resources is deprecated')  # MMEngine asks for it


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest='command', required=True)
    show = commands.add_parser('list', help='the tables, their yardsticks, and what has been measured so far')
    run = commands.add_parser('run', help='run or resume cells', allow_abbrev=False)
    tell = commands.add_parser('report', help='Markdown, CSV, LaTeX and pictures')
    for command in (show, tell):
        command.add_argument('tables', nargs='*', metavar='TABLE', help='tables or groups (default: all)')
    for command in (show, run, tell):
        command.add_argument('--output', type=Path, default=Path('runs/tables'), help='results (default: %(default)s)')
        command.add_argument(
            '--definitions',
            type=Path,
            help='folder with tables, models and arms of your own, beside the shipped ones',
        )
    run.add_argument('table', metavar='TABLE')
    run.add_argument('cells', nargs='*', metavar='CELL', help='default: all of the table')
    run.add_argument('--framework', required=True, help=' or '.join(FRAMEWORKS))
    run.add_argument('--done', type=Path, metavar='CSV', help='leave out cells whose results tools/study.py collected')
    run.add_argument('--dry-run', action='store_true', help='print the commands and run none')
    run.add_argument('--gpus', type=int, default=1, help='processes of a training, a GPU each; the batch is shared')
    run.add_argument('--slurm', metavar='ARGUMENTS', help='start trainings with srun and these arguments of it')
    run.add_argument('--data', type=Path, default=Path('datasets'), help='(default: %(default)s)')
    run.add_argument('--checkpoints', type=Path, default=Path('checkpoints'), help="authors' (default: %(default)s)")
    run.add_argument('--tests', nargs='+', default=[], metavar='SET', help='test on these only')
    run.add_argument('--iterations', type=int, help='of the training, its schedule stretched; default: as published')
    run.add_argument('--batch', type=int, help='of all processes together; default: as published')
    run.add_argument('--masks', type=Path, help='a finished mask store; default: masks are cut')
    run.add_argument(
        '--masks-of', default='restored', help='what is cut: restored by the stock student (default), target, input'
    )
    run.add_argument('--segmenter', default='sam')
    run.add_argument('--sam-checkpoint', type=Path, help='any SAM or MobileSAM checkpoint')
    run.add_argument('--preset', help='SAM: fast (default) or stock')
    run.add_argument('--vgg-checkpoint', type=Path, help='VGG-19 weights, for SGR')
    run.add_argument('--save-images', action='store_true', help='keep the restored test images')
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, catalogue: Catalogue) -> None:
    """Run or resume cells."""
    tables, framework = catalogue.select(options.table), load_framework(options.framework)
    settings = _settings(options, tables)
    recipes = {table.name: Recipes(catalogue, table, framework, settings) for table in tables}
    cells = [cell for table in tables for cell in catalogue.cells(table, framework.name)]
    if not cells:
        raise SAPDError(f'--framework: no model of {options.table} has a config of {framework.name}.')
    if options.table not in recipes:
        # Whenever it is stopped, as many seeds as possible are whole.
        cells.sort(key=lambda cell: cell.seed)
    cells = select_cells(cells, options.cells, grouped=options.table not in recipes)
    if options.done is not None:
        cells = _left(options.done, recipes, cells)
    if options.dry_run:
        print('\n'.join(task.show() for task in unique([chain(recipes[cell.table], cell) for cell in cells])))
        return
    for name in dict.fromkeys(cell.table for cell in cells):
        check(recipes[name], [cell for cell in cells if cell.table == name])
    run_chains([chain(recipes[cell.table], cell) for cell in cells])


def _left(done: Path, recipes: Mapping[str, Recipes], cells: Sequence[Cell]) -> list[Cell]:
    """Drop cells that a CSV has with all their tests."""
    measured, left = finished(done), []
    for cell in cells:
        own = recipes[cell.table]
        found = measured.get(cell)
        if found is None or not all(found.holds(test_set.name, own.table) for test_set in own.test_sets):
            left.append(cell)
    print(f'{len(cells) - len(left)} of {len(cells)} cells are in {done}', flush=True)
    return left


def _settings(options: argparse.Namespace, tables: Sequence[Table]) -> Settings:
    import torch

    check_choice('--masks-of', options.masks_of, MASK_SOURCES)
    for table in tables:
        for test in options.tests:
            check_choice('--tests', test, table.tests)
    for flag in ('gpus', 'iterations', 'batch'):
        value = getattr(options, flag)
        if value is not None and value < 1:
            raise SAPDError(f'--{flag}: found {value}, expected a whole number of at least 1.')
    for flag in ('masks', 'sam_checkpoint', 'vgg_checkpoint'):
        path = getattr(options, flag)
        if path is not None and not path.exists():
            raise SAPDError(f'--{flag.replace("_", "-")}: found no {path}.')
    segmenter = ['--segmenter', options.segmenter]
    if options.sam_checkpoint is not None:
        segmenter += ['--checkpoint', str(options.sam_checkpoint.resolve())]
    if options.preset is not None:
        segmenter += ['--preset', options.preset]
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


def show(options: argparse.Namespace, catalogue: Catalogue) -> None:
    """Print the tables that are named, or all."""
    tables = [table for name in options.tables for table in catalogue.select(name)] or catalogue.tables.values()
    listing.show(catalogue, tables, list(iter_results(options.output.resolve())))


def tell(options: argparse.Namespace, catalogue: Catalogue) -> None:
    """Write the reports of the tables that are named, or of those that have results."""
    root = options.output.resolve()
    found = list(iter_results(root))
    measured = dict.fromkeys(r.cell.table for r in found if r.cell.table in catalogue.tables)
    tables = [table for name in options.tables or measured for table in catalogue.select(name)]
    write_reports(catalogue, tables, found, root)


def stop(*_: object) -> None:
    """Treat SIGTERM, which clusters send, as Ctrl-C."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, stop)
    try:
        {'list': show, 'run': run, 'report': tell}[options.command](options, read_catalogue(options.definitions))
    except SAPDError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = shlex.join(['python', *sys.argv]) if arguments is None else 'the same command'
        print(f'Stopped. What is finished is kept; go on with: {again}', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
