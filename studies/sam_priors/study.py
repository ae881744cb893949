"""The controlled study: its results in one CSV, and docs/study.md with all its numbers and figures made from it.

python tools/study.py collect [--output runs/tables] [--tables 'mini*']   # results.json files -> docs/study/cells.csv
python tools/study.py report [--check]                                    # docs/study/*.csv -> docs/study.md, README.md

collect takes what tools/evaluate_teacher.py wrote into CELL/teacher, too, into teacher.csv, and what
tools/evaluate_segmentation.py wrote into CELL/segmentation/TEST, into segmentation.csv. A cell that was measured anew
takes the place of its old lines; others stay.
A report reads the CSVs of docs/study and nothing else, writes what stands between '<!-- study: NAME -->' and
'<!-- end -->', and draws figures.
Exit status: 0 done, 1 --check found a file that would change, 2 a mistake in the command, a document or a CSV.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.collected import merge
from sapd_plugin.experiments.collected_images import SEGMENTATION, TEACHER, merge_images
from sapd_plugin.experiments.results import Results, iter_results
from studies.sam_priors.study_report.blocks import make_block, results_of
from studies.sam_priors.study_report.documents import fill
from studies.sam_priors.study_report.figures import digest, draw, file_name, panels, up_to_date
from studies.sam_priors.study_report.measured import UNMEASURED

ROOT = Path(__file__).resolve().parents[2]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest='command', required=True)
    take = commands.add_parser('collect', help='bring cells.csv up to date', allow_abbrev=False)
    tell = commands.add_parser('report', help='rewrite the documents, draw the figures', allow_abbrev=False)
    for command in (take, tell):
        command.add_argument('--study', type=Path, default=ROOT / 'docs/study', help='folder (default: docs/study)')
    take.add_argument('--output', type=Path, default=Path('runs/tables'), help='results (default: %(default)s)')
    take.add_argument('--tables', default='mini*', metavar='PATTERN', help='of names (default: %(default)s)')
    tell.add_argument('--check', action='store_true', help='write nothing; exit with 1 if a file would change')
    tell.add_argument(
        '--documents',
        nargs='+',
        type=Path,
        metavar='FILE',
        help='default: study.md beside --study, and README.md',
    )
    return parser.parse_args(arguments)


def collect(options: argparse.Namespace) -> int:
    """Merge results into the study's CSV."""
    found = [r for r in iter_results(options.output.resolve()) if fnmatchcase(r.cell.table, options.tables)]
    if not found:
        raise SAPDError(f"--output: found no results of tables '{options.tables}' in {options.output}.")
    for what, name in ((TEACHER, 'teacher.csv'), (SEGMENTATION, 'segmentation.csv')):
        taken = merge_images(what, options.study / name, options.output.resolve(), options.tables)
        print(f'{options.study / name}: {taken} cells')
    path = options.study / 'cells.csv'
    taken, new = merge(path, found)
    left = f'; {len(found) - taken} left out, which are not finished' if taken < len(found) else ''
    print(f'{path}: {taken} cells, {new} of them new{left}')
    return 0


def report(options: argparse.Namespace) -> int:
    """Make documents and figures anew, all of them or none; with --check only say which would change."""
    study = options.study.resolve()
    found = results_of(study)
    changes: dict[Path, Callable[[], object]] = {}
    for path in options.documents or (study.with_suffix('.md'), study.parent.parent / 'README.md'):
        if not path.is_file():
            raise SAPDError(f'--documents: found no file {path}.')
        old = path.read_text(encoding='utf-8')
        new = fill(old, partial(_block, found, study, path.name), path.name)
        if new != old:
            changes[path] = partial(path.write_text, new, encoding='utf-8')
    drawn = {study / file_name(table): table for table in sorted({r.cell.table for r in found}) if panels(found, table)}
    for path, table in drawn.items():
        if not up_to_date(path, digest(found, table)):
            changes[path] = partial(draw, path, found, table)
    # The picture of a table that has left the CSV.
    changes.update({path: path.unlink for path in sorted(study.glob(file_name('*'))) if path not in drawn})
    for path, write in changes.items():
        if not options.check:
            write()
        print(f'{path}: {"would change" if options.check else "written" if path.is_file() else "deleted"}')
    return 1 if options.check and changes else 0


def _block(found: list[Results], study: Path, document: str, words: str) -> str:
    text = make_block(found, study, words)
    if text.strip() == UNMEASURED:
        print(f'{document}: {words}: {UNMEASURED}', file=sys.stderr)
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parse_arguments(arguments)
    try:
        return {'collect': collect, 'report': report}[options.command](options)
    except SAPDError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())
