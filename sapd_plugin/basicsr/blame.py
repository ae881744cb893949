"""Which block of the options an error of BasicSR's builders comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from basicsr.archs import build_network
from basicsr.losses import build_loss

from sapd_plugin.errors import SAPDError, describe

BUILDERS = (build_network, build_loss)


@contextmanager
def named_blocks(opt: Mapping[str, Any]) -> Iterator[None]:
    """Name the block of the options that cannot be built, or the key that BasicSR's models miss.

    Errors that do not come from a builder of BasicSR, nor from a missing key, pass unchanged.

    Args:
        opt: BasicSR's options.

    Raises:
        SAPDError: naming the block or the key, and the error.
    """
    try:
        yield
    except SAPDError:
        raise
    except Exception as error:
        *_, last = _frames(error.__traceback__)
        if isinstance(error, KeyError) and str(last.tb_frame.f_globals.get('__name__')).startswith('basicsr.models'):
            raise SAPDError(f'{error.args[0]}: missing, and {last.tb_frame.f_code.co_qualname}() reads it.') from error
        key = _block_of(error, opt)
        if key is None:
            raise
        raise SAPDError(f'{key}: cannot be built from these arguments ({describe(error)}).') from error


def _block_of(error: BaseException, opt: Mapping[str, Any]) -> str | None:
    """Return the key of the block that a builder was building, or None."""
    codes = {build.__code__ for build in BUILDERS}
    blocks = {**opt, **{f'train.{key}': block for key, block in opt['train'].items()}}
    for frame in _frames(error.__traceback__):
        if frame.tb_frame.f_code in codes:
            arguments = frame.tb_frame.f_locals.get('opt')  # a copy without the type
            for key, block in blocks.items():
                if isinstance(block, Mapping) and {k: v for k, v in block.items() if k != 'type'} == arguments:
                    return key
    return None


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
