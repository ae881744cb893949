"""Write the study's page and figures from the CSVs in results/.

python -m studies.sam_priors.build            # README.md from *.md.j2, and results/*.png
python -m studies.sam_priors.build --check    # write nothing; exit with 1 if a file would change

No number is typed: the templates print what `measurements.Study` returns, and sentences that `answers` makes of it.
A figure stores a digest of the numbers that it shows. Exit status: 0 done, 1 --check found a file that would change,
2 a CSV or a template is broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from sapd_plugin.cli.common import DONE, FINDING, exit_status
from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import read_catalogue
from sapd_plugin.files import write_atomically
from studies.sam_priors import answers
from studies.sam_priors.data.sets import COUNT, VALIDATION
from studies.sam_priors.gpu import costs
from studies.sam_priors.measurements import Study
from studies.sam_priors.pictures import draw, is_current
from studies.sam_priors.students import LOOKED_FOR, REGIMES, claims, curve, seeds_needed, spread

FOLDER = Path(__file__).parent
TASKS = {'mini_derain': 'Deraining', 'mini_denoise': 'Denoising', 'mini_deblur': 'Deblurring'}
TESTS = {
    'Rain100L': 'Rain100L',
    'CBSD68_rain': 'CBSD68, rain as in training',
    'CBSD68_sigma25': 'CBSD68, sigma 25',
    'CBSD68_sigma50': 'CBSD68, sigma 50',
    'CBSD68_blur': 'CBSD68, camera shake',
    'Levin': 'Levin, real camera shake',
    'val': 'validation photos',
}
BASES = {'stock': 'stock', 'shuffled': "other images' masks", 'cascade': 'SPF without masks'}
METHOD = 'spd_sgr'


def primary(study: Study) -> pd.DataFrame:
    """Return SAPD's PSNR minus that of `BASES`: columns base, table, model, test, mean, half, count, certain."""
    frame = pd.concat({base: study.difference(METHOD, base) for base in BASES}, names=['base']).reset_index()
    return _in_order(frame[frame['table'].isin(list(TASKS))])


def gains(study: Study, table: str) -> pd.DataFrame:
    """Return PSNR minus stock's, of arms trained for as long: columns arm, model, test, mean, half, count, certain."""
    arms = study.arms(table)
    arms = arms.loc[arms['comparable'], ['model', 'arm']]
    frame = pd.concat({arm: study.difference(arm, 'stock') for arm in arms['arm']}, names=['arm'])
    return _in_order(frame.xs(table, level='table').reset_index().merge(arms))


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.assign(certain=frame['mean'].abs() > frame['half']).sort_values(
        'model', ascending=False, kind='stable'
    )
    return frame.sort_values('test', key=lambda names: names.map(list(TESTS).index), kind='stable')


def figures(study: Study) -> dict[str, pd.DataFrame]:
    """Return the numbers of each figure by file name, with the columns panel, row, and group or model."""
    shown = primary(study)
    names = {'panel': shown['base'].map(lambda base: f'over {BASES[base]}'), 'row': shown['test'].map(TESTS)}
    drawn = {'answer.png': answers.differences(study), 'first_study.png': shown.assign(**names)}
    for table in TASKS:
        frame = gains(study, table)
        drawn[f'gains_{table}.png'] = frame.assign(panel=frame['test'].map(TESTS), row=frame['arm'])
    return drawn


def render(study: Study) -> str:
    """Return the page.

    Raises:
        SAPDError: the template names something that does not exist or was not measured.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    catalogue = read_catalogue(FOLDER / 'tables')
    names = {
        'study': study,
        'answers': answers,
        'gains': partial(gains, study),
        'primary': primary(study),
        'tasks': TASKS,
        'tests': TESTS,
        'bases': BASES,
        'catalogue': catalogue,
        'gpu': costs(catalogue),
        'regimes': REGIMES,
        'claims': claims(study, 'NAFNet-w8', 'CBSD68_sigma50'),
        'curve': partial(curve, study),
        'spread': partial(spread, study),
        'seeds_needed': seeds_needed,
        'looked_for': LOOKED_FOR,
    }
    photos = {'train': COUNT - VALIDATION, 'val': VALIDATION}
    try:
        return environment.get_template('report.md.j2').render(**names, photos=photos)
    except (TemplateError, KeyError) as error:
        raise SAPDError(f'report.md.j2: {error} is unknown or was not measured.') from error


def build(results: Path, page: Path, check: bool) -> int:
    """Write the page and its figures, or only ``check`` whether they would change; return the exit status.

    Raises:
        SAPDError: a CSV or the template is broken; nothing was written.
    """
    study = Study(results)
    text = render(study)
    stale = {results / name: frame for name, frame in figures(study).items() if not is_current(results / name, frame)}
    changed = [*([] if page.is_file() and page.read_text(encoding='utf-8') == text else [page]), *stale]
    if not check:
        write_atomically(page, text)
        for path, frame in stale.items():
            draw(path, frame)
    for path in changed:
        print(f'{path}: {"would change" if check else "written"}')
    return FINDING if check and changed else DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--check', action='store_true', help='write nothing; exit with 1 if a file would change')
    parser.add_argument('--results', type=Path, default=FOLDER / 'results', help='folder of the CSVs')
    parser.add_argument('--page', type=Path, default=FOLDER / 'README.md', help='page to write')
    options = parser.parse_args(arguments)
    return exit_status(lambda: build(options.results, options.page, options.check))


if __name__ == '__main__':
    sys.exit(main())
