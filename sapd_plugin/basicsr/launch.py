"""What the train command does before BasicSR's own train_pipeline: the command line, and the checks of the options."""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from sapd_plugin.basicsr.base_models import check_model_type
from sapd_plugin.basicsr.dataset import named_dataset
from sapd_plugin.basicsr.dataset_options import check_places
from sapd_plugin.basicsr.epochs import check_epochs
from sapd_plugin.basicsr.metrics import check_metrics
from sapd_plugin.basicsr.option_kinds import check_sections, check_validation_kinds, require
from sapd_plugin.basicsr.options import check_network, check_options, parse_yaml
from sapd_plugin.basicsr.pairs import check_validation
from sapd_plugin.errors import SAPDError, describe
from sapd_plugin.user_modules import add_import_option, import_modules

_WRITERS = ('make_exp_dirs', 'mkdir_and_rename', 'copy_opt_file')


def accept_local_rank(arguments: Sequence[str]) -> list[str]:
    """Return the command line as BasicSR reads it: torch.distributed.launch passes ``--local-rank`` since torch 2.0.

    >>> accept_local_rank(['-opt', 'a.yml', '--local-rank=1'])
    ['-opt', 'a.yml', '--local_rank=1']
    """
    return [
        argument.replace('--local-rank', '--local_rank', 1) if argument.split('=')[0] == '--local-rank' else argument
        for argument in arguments
    ]


def take_imports(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the modules that ``--import`` names, and the command line without them, as BasicSR reads it.

    >>> take_imports(['-opt', 'a.yml', '--import', 'my_package', '--auto_resume'])
    (['my_package'], ['-opt', 'a.yml', '--auto_resume'])
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_import_option(parser)
    found, rest = parser.parse_known_args(arguments)
    return found.imports, rest


def check_training(opt: dict[str, Any]) -> None:
    """Refuse the options of a training with SAM priors that has a mistake; of a stock training, only its model's name.

    Raises:
        SAPDError: as :func:`sapd_plugin.basicsr.options.check_options`.
    """
    check_model_type(opt)
    if opt['model_type'] == 'SAPDModel':
        check_options(opt)
        check_places(opt)


def check_testing(opt: Mapping[str, Any]) -> None:
    """Refuse the options of a test that would end it, or whose metrics would measure something else.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    check_model_type(opt, training=False)
    require('', opt, ('val',))
    if 'network_g' in opt:  # else the model is a user's, who knows
        check_network('network_g', opt['network_g'])
    check_validation_kinds(opt)
    if opt['val']['save_img']:
        require('val', opt['val'], ('suffix',))
    check_metrics(opt)
    check_places(opt)


def checked(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return BasicSR's ``load_resume_state`` with a check of the options, before BasicSR makes any folder.

    The check comes after the state is found, because a run that resumes needs fewer files than one that starts.
    """

    @functools.wraps(read)
    def read_and_check(opt: dict[str, Any]) -> Any:
        state = read(opt)
        check_training(opt)
        return state

    read_and_check.sapd_checks = True  # type: ignore[attr-defined]
    return read_and_check


def check_sooner(module: Any) -> None:
    """Let a train module of BasicSR check its options once it has looked for a resume state."""
    read = getattr(module, 'load_resume_state', None)
    if read is not None and not hasattr(read, 'sapd_checks'):
        module.load_resume_state = checked(read)


@contextmanager
def launched(module: Any, check: Callable[[dict[str, Any]], None] | None = None) -> Iterator[None]:
    """Let a train or test module of BasicSR read this process's command line, and name what it cannot read.

    Args:
        module: ``basicsr.train`` or ``basicsr.test``.
        check: of the options, as soon as they are parsed.

    Raises:
        SAPDError: naming the file or the option, and the fault.
    """
    modules, arguments = take_imports(accept_local_rank(sys.argv))
    import_modules(modules)
    parse, build = module.parse_options, module.build_dataset
    options: dict[str, Any] = {}

    def parse_options(*args: Any, **kwargs: Any) -> Any:
        for option, file in itertools.pairwise(arguments):
            if option == '-opt':
                _check_yaml(Path(file))
        try:
            parsed = parse(*args, **kwargs)
        except (KeyError, ValueError, TypeError, NameError, SyntaxError) as error:
            if '--force_yml' not in arguments:
                raise
            raise SAPDError(
                f'--force_yml: {describe(error)}. Expected KEY:KEY=VALUE with keys that the YAML has.'
            ) from error
        options.update(parsed[0])
        if check is not None:
            check(parsed[0])
        return parsed

    with ExitStack() as patched:
        patched.enter_context(mock.patch.object(sys, 'argv', arguments))
        for name, replacement in {
            'parse_options': parse_options,
            'build_dataset': lambda opt: build_checked(build, opt, options),
            **{name: _writing(getattr(module, name)) for name in _WRITERS if hasattr(module, name)},
        }.items():
            patched.enter_context(mock.patch.object(module, name, replacement))
        patched.enter_context(_named_refusals())
        yield


def build_checked(build: Callable[..., Any], opt: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Build a data set, and check what would end a validation of it, or leave a training without a step.

    Args:
        build: BasicSR's ``build_dataset``.
        opt: of the data set.
        options: of the training.

    Raises:
        SAPDError: naming the data set or the image, and the fault.
    """
    with named_dataset(opt, opt.get('type')):
        dataset = build(opt)
    if not len(dataset):
        raise SAPDError(f'datasets.{_phase(opt, options)}: found no images, expected at least one.')
    if opt.get('phase') == 'train':
        check_epochs(opt, options, len(dataset))
    paths, backend = getattr(dataset, 'paths', None), (opt.get('io_backend') or {}).get('type')
    if opt.get('phase') != 'train' and backend == 'disk' and isinstance(paths, list):
        pairs = [each for each in paths if isinstance(each, Mapping) and {'gt_path', 'lq_path'} <= each.keys()]
        metrics = (options.get('val') or {}).get('metrics') or {}
        check_validation(f'datasets.{_phase(opt, options)}', opt, pairs, metrics)
    return dataset


def _phase(opt: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return the key of a data set among the options, such as val_2."""
    return next((key for key, each in options.get('datasets', {}).items() if each is opt), str(opt.get('phase')))


def _writing(write: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of BasicSR's that writes to the folders of a run, and names what it cannot write."""

    @functools.wraps(write)
    def write_or_name(*args: Any, **kwargs: Any) -> Any:
        try:
            return write(*args, **kwargs)
        except OSError as error:
            raise SAPDError(
                f'{error.filename or Path.cwd()}: cannot be written ({error.strerror or error}). A run writes to the '
                f'working folder, {Path.cwd()}.'
            ) from error

    return write_or_name


@contextmanager
def _named_refusals() -> Iterator[None]:
    """Turn what BasicSR itself refuses into one line; errors of other code keep their tracebacks. Raises SAPDError."""
    try:
        yield
    except SAPDError:
        raise
    except (AssertionError, NotImplementedError, ValueError) as error:
        *_, last = traceback.walk_tb(error.__traceback__)
        place = last[0].f_globals.get('__name__', '')
        if not place.startswith('basicsr.'):
            raise
        raise SAPDError(f'{place} of BasicSR refuses these options: {describe(error)}') from error


def _check_yaml(file: Path) -> None:
    """Refuse a YAML that BasicSR's parser would stumble over."""
    try:
        opt = parse_yaml(file.read_text(encoding='utf-8'))
    except OSError as error:
        raise SAPDError(f'-opt: {file} cannot be read ({error.strerror}), expected a BasicSR YAML.') from error
    except UnicodeDecodeError as error:
        raise SAPDError(f'-opt: {file} cannot be read ({describe(error)}), expected a BasicSR YAML.') from error
    except SAPDError as error:
        raise SAPDError(f'-opt: {file}: {error}') from error
    check_sections(opt)
