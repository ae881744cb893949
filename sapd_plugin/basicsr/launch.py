"""What the train command does before BasicSR's own train_pipeline: the command line, and the checks of the options."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from sapd_plugin.basicsr.dataset import named_dataset
from sapd_plugin.basicsr.delta import is_sapd
from sapd_plugin.basicsr.option_kinds import check_places, check_sections
from sapd_plugin.basicsr.options import base_model_class, check_options, parse_yaml
from sapd_plugin.errors import SAPDError, describe


def accept_local_rank(arguments: Sequence[str]) -> list[str]:
    """Return the command line as BasicSR reads it: torch.distributed.launch passes ``--local-rank`` since torch 2.0.

    >>> accept_local_rank(['-opt', 'a.yml', '--local-rank=1'])
    ['-opt', 'a.yml', '--local_rank=1']
    """
    return [
        argument.replace('--local-rank', '--local_rank', 1) if argument.split('=')[0] == '--local-rank' else argument
        for argument in arguments
    ]


def check_training(opt: dict[str, Any]) -> None:
    """Refuse the options of a training with SAM priors that has a mistake; those of a stock training pass.

    Raises:
        SAPDError: as :func:`sapd_plugin.basicsr.options.check_options`.
    """
    if opt.get('model_type') == 'SAPDModel':
        base_model_class(opt)
        check_options(opt)
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
def launched(module: Any) -> Iterator[None]:
    """Let a train module of BasicSR read this process's command line, and name what it cannot read.

    Raises:
        SAPDError: naming the file or the option, and the fault.
    """
    arguments, parse, build = accept_local_rank(sys.argv), module.parse_options, module.build_dataset

    def parse_options(*args: Any, **kwargs: Any) -> Any:
        for option, file in itertools.pairwise(arguments):
            if option == '-opt':
                _check_yaml(Path(file))
        try:
            return parse(*args, **kwargs)
        except (KeyError, ValueError, TypeError, NameError, SyntaxError) as error:
            if '--force_yml' not in arguments:
                raise
            raise SAPDError(
                f'--force_yml: {describe(error)}. Expected KEY:KEY=VALUE with keys that the YAML has.'
            ) from error

    def build_dataset(opt: Mapping[str, Any]) -> Any:
        with named_dataset(opt, opt.get('type')):
            return build(opt)

    with (
        mock.patch.object(sys, 'argv', arguments),
        mock.patch.object(module, 'parse_options', parse_options),
        mock.patch.object(module, 'build_dataset', build_dataset),
    ):
        yield


def _check_yaml(file: Path) -> None:
    """Refuse a YAML of a training with SAM priors that BasicSR's parser would stumble over."""
    try:
        opt = parse_yaml(file.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise SAPDError(f'-opt: {file} cannot be read ({describe(error)}), expected a BasicSR YAML.') from error
    except SAPDError as error:
        raise SAPDError(f'-opt: {file}: {error}') from error
    if is_sapd(opt):
        check_sections(opt)
