"""Add SAM priors to your BasicSR YAML or MMagic config.

sapd add options/train_NAFNet.yml --masks datasets/masks/GoPro_train
sapd add configs/restormer.py --masks datasets/masks/Rain13K_train -o configs/restormer_sapd.py
sapd add train.yml --masks masks --spf fusion=map --spf network.type=NAFNet --spf network.width=16

BasicSR: the lines of the delta are written into a copy of the YAML; comments, order and everything else are kept, and
the difference is printed. The experiment is named after the file that you pass with -o. MMagic: the new config has
yours as its base, and is printed. By default, the new file is NAME_sapd next to yours. The second network is a copy of
the student; for super-resolution, a small one at scale 1 is proposed, because it works at the output size. Run
`sapd check` on the result.

Masks come from one of two kinds of images; only the store differs. Those of the ground truth show what no network sees
in a test, so they are privileged: SPF, which only training uses, may know them. Those of restored images, which a
trained student makes, are the paper's. If STORE does not exist, the command that makes it is printed for both.

Exit status: 0 done, 2 a mistake.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sapd_plugin.cli.common import read_settings, run_command
from sapd_plugin.errors import SAPDError
from sapd_plugin.files import write_atomically
from sapd_plugin.home import expanded
from sapd_plugin.priors.store import manifest
from sapd_plugin.progress import Bar
from sapd_plugin.texts import read_text
from sapd_plugin.user_modules import add_import_option, import_modules


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add('config', help='BasicSR YAML or MMagic config of a stock training, or mmagic::NAME')
    add('-o', '--output', type=Path, help='the new config (default: NAME_sapd next to CONFIG)')
    add('--masks', required=True, metavar='STORE', help='mask store of the training images')
    add('--losses', nargs='+', choices=('spd', 'sgr'), default=['spd', 'sgr'], help='default: both; sgr needs VGG-19')
    add('--spf', action='append', default=[], metavar='KEY=VALUE', help='a key of network_spf: fusion, network.type')
    add('--base', default='', metavar='MODEL', help="model to train (default: the config's)")
    add_import_option(parser)
    add('--force', action='store_true', help='overwrite the output')


def run(options: argparse.Namespace) -> None:
    """Write the config and print the difference."""
    shipped, source = '::' in options.config, Path(options.config.rpartition('::')[2])
    if source.suffix not in ('.yml', '.yaml', '.py') or not (shipped or source.is_file()):
        raise SAPDError(f'found no config {options.config}, expected a BasicSR YAML or an MMagic config (.py).')
    output = options.output or (Path() if shipped else source.parent) / f'{source.stem}_sapd{source.suffix}'
    if output.exists() and not options.force:
        raise SAPDError(f'--output: {output} exists. Name another file, or overwrite it with --force.')
    if output.suffix != source.suffix or not output.parent.is_dir():
        raise SAPDError(
            f'--output: found {output}, expected a name that ends with {source.suffix}, in a folder that exists.'
        )
    spf = read_settings('--spf', options.spf)
    # Experiments of one name share a folder, and a variant would resume the training of another.
    name = output.stem if options.output else ''
    import_modules(options.imports)
    framework = 'mmagic' if source.suffix == '.py' else 'basicsr'
    with Bar(total=1, desc='add', unit='step', leave=False) as bar:
        bar.say(f'import {framework}')  # which takes seconds
        importlib.import_module(f'sapd_plugin.{framework}')
        bar.update()
    if source.suffix == '.py':
        from sapd_plugin.mmagic import delta as mmagic

        if not shipped and output.resolve() == source.resolve():
            raise SAPDError(f'--output: found {output}, expected another file: it has CONFIG as its base.')
        base = options.config if shipped else Path(os.path.relpath(source, output.parent)).as_posix()
        config = mmagic.read_config(options.config)
        text = mmagic.delta_of(config, base, options.masks, options.losses, spf, options.base, name)
        shown, images = text.splitlines(), mmagic.training_images(config)
    else:
        from sapd_plugin.basicsr import delta as basicsr
        from sapd_plugin.basicsr.options import parse_yaml

        before = read_text(source, 'a BasicSR YAML')
        text = basicsr.add_delta(before, options.masks, options.losses, spf, options.base, name)
        images = basicsr.training_images(parse_yaml(before))
        shown = list(
            difflib.unified_diff(before.splitlines(), text.splitlines(), str(source), str(output), lineterm='')
        )
    write_atomically(output, text)
    print(*shown, '', f'written: {output}', sep='\n')
    print(*about_masks(options.masks, options.config, *images), f'next: sapd check {output}', sep='\n')


def about_masks(masks: str, config: str, target: str, degraded: str | None) -> Iterator[str]:
    """Yield what the masks of a store were made from or, without a store, how to make them.

    Args:
        masks: the store.
        config: of the stock training, whose student restores images.
        target: folder of the ground truth.
        degraded: folder of the degraded images; None if training makes them itself.
    """
    store = expanded(masks)
    if (store / manifest.MANIFEST).is_file():
        yield f'masks: {masks}, source {manifest.read_settings(store).get("source", "unknown")}'
        return
    command = f'  sapd extract-masks --output {shlex.quote(masks)} --segmenter sam --checkpoint SAM.pth --images'
    yield f'no mask store at {masks} yet. Masks of the ground truth, which only training sees (privileged):'
    yield f'{command} {shlex.quote(target)} --source target'
    yield 'or masks of restored images, as in the paper, with the weights of a trained stock student:'
    images = 'FOLDER_OF_DEGRADED_IMAGES' if degraded is None else shlex.quote(degraded)
    yield f'{command} {images} --restored-by {shlex.quote(config)} STUDENT.pth'


main = partial(run_command, 'add', __doc__, add_arguments, run, interrupted='Interrupted.')
