"""Shared parts of the commands of ``sapd``: parsing, exit status, interruption, and common options."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import sys
import threading
from _thread import interrupt_main
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sapd_plugin.errors import SAPDError, check_count, check_number
from sapd_plugin.home import expanded
from sapd_plugin.mistakes import interruptible
from sapd_plugin.names import check_name

if TYPE_CHECKING:
    from sapd_plugin.priors.extraction.ranks import Rank
    from sapd_plugin.priors.segmenters import Segmenter

# STOPPED is EX_TEMPFAIL of sysexits.h: try again. timeout(1) ends with 124, so the two can be told apart.
DONE, FINDING, MISTAKE, STOPPED, INTERRUPTED = 0, 1, 2, 75, 130
_KEPT = 'Finished work is kept; rerun the same command to resume.'
RESUMABLE = f'Interrupted. {_KEPT}'


class Stopped(KeyboardInterrupt):
    """The time of ``--stop-after`` is over."""

    def __init__(self, minutes: float) -> None:
        super().__init__(f'Stopped by --stop-after {minutes:g}. {_KEPT}')


def run_command(
    name: str,
    doc: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int | None],
    arguments: Sequence[str] | None = None,
    interrupted: str = RESUMABLE,
) -> int:
    """Parse the command line of ``sapd NAME``, run the command, and return its exit status.

    ``doc`` is its help text. ``run`` returns a status; None means `DONE`. ``interrupted`` is printed after Ctrl-C.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f'sapd {name}', description=doc, formatter_class=form, allow_abbrev=False)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    expand_home(options)
    return exit_status(lambda: run(options), interrupted)


def expand_home(options: argparse.Namespace) -> None:
    """Replace a leading ``~`` of each path: a shell leaves that of ``--output=~/masks`` as it is.

    >>> expand_home(found := argparse.Namespace(output=Path('~/masks'), folders=[Path('~')], name='~'))
    >>> found.output == Path.home() / 'masks', found.folders == [Path.home()], found.name
    (True, True, '~')
    """
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, expanded(value))
        elif isinstance(value, list):
            setattr(options, name, [expanded(each) if isinstance(each, Path) else each for each in value])


def exit_status(work: Callable[[], int | None], interrupted: str = RESUMABLE) -> int:
    """Do the work; return its status, or what ended it.

    `MISTAKE` is a user's mistake, `INTERRUPTED` Ctrl-C or SIGTERM, and `STOPPED` the end of ``--stop-after``.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')  # the terminal may not support all file names
    try:
        with interruptible():
            return work() or DONE
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return STOPPED
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except (SAPDError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return MISTAKE


def add_stop_option(parser: argparse.ArgumentParser) -> None:
    """Add --stop-after, for commands that :func:`stopping` ends."""
    parser.add_argument(
        '--stop-after',
        type=float,
        metavar='MINUTES',
        help=f'stop by itself after so many minutes, as by Ctrl-C, with exit status {STOPPED}; for time limits',
    )


@contextlib.contextmanager
def stopping(
    minutes: float | None, kept: Callable[[], object] = object, nothing: str = '', besides: str = ''
) -> Iterator[None]:
    """Interrupt the main thread after some minutes, as Ctrl-C would; None means never.

    Args:
        minutes: the limit.
        kept: returns a value that changes when the block keeps work that the same command, rerun, would not do again.
        nothing: what did not happen if it has not changed, for the message.
        besides: what is expected besides more minutes, for the message.

    Raises:
        Stopped: the time is over.
        SAPDError: ``minutes`` is not a number above zero; or they are over and nothing was kept, so a script that
            reruns the command would never end.
    """
    if minutes is None:
        yield
        return
    check_number('--stop-after', minutes, above=0)
    before = kept()
    try:
        with _interrupted_after(minutes):
            yield
    except Stopped as stopped:
        if kept() != before:
            raise
        raise SAPDError(
            f'--stop-after: found {minutes:g} minutes, in which {nothing}, so the same command would do the same '
            f'again. Expected more minutes{besides}.'
        ) from stopped


@contextlib.contextmanager
def _interrupted_after(minutes: float) -> Iterator[None]:
    over = threading.Event()

    def stop() -> None:
        over.set()
        interrupt_main()

    # A thread, not SIGALRM, which Windows lacks and of which a process has only one. It cannot wait for longer.
    timer = threading.Timer(min(60 * minutes, threading.TIMEOUT_MAX), stop)
    timer.daemon = True
    try:
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # an interruption that is under way arrives here, not behind this block
    except KeyboardInterrupt as error:
        if over.is_set():
            raise Stopped(minutes) from error
        raise


def check_counts(options: argparse.Namespace, **at_least: int) -> None:
    """Refuse given options that are not integers of at least the named value.

    Raises:
        SAPDError: naming the option, what was found and what is expected.
    """
    for name, least in at_least.items():
        value = getattr(options, name)
        if value is not None:
            check_count(f'--{name.replace("_", "-")}', value, least)


def read_pairs(option: str, items: Sequence[str]) -> dict[str, str]:
    """Read ARM=VALUE items.

    Raises:
        SAPDError: an item without a value, an arm whose name cannot be a file name, or a repeated arm.
    """
    pairs: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition('=')
        if not (equals and name and value):
            raise SAPDError(f"{option}: found '{item}', expected ARM=...")
        check_name(f"{option}: '{item}'", name)
        if name in pairs:
            raise SAPDError(f'{option}: found {name} twice, expected each arm once.')
        pairs[name] = value
    return pairs


def read_settings(option: str, items: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE items, whose values are JSON, or else text.

    Raises:
        SAPDError: an item without ``=``.
    """
    settings: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition('=')
        if not equals:
            raise SAPDError(f'{option}: found {item!r}, expected KEY=VALUE.')
        settings[key] = value
        with contextlib.suppress(ValueError):
            settings[key] = json.loads(value)
    return settings


def add_segmenter_options(parser: argparse.ArgumentParser) -> None:
    """Add --segmenter, --checkpoint, --preset, --device and --set."""
    from sapd_plugin.priors.segmenters import SEGMENTERS

    parser.add_argument('--segmenter', required=True, help=', '.join(SEGMENTERS))
    parser.add_argument('--checkpoint', type=Path, help='SAM: the checkpoint file')
    parser.add_argument('--preset', help='SAM: fast (default) or stock')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: a GPU if there is one')
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', dest='settings', help='a setting of the segmenter'
    )


def choose_device(options: argparse.Namespace, rank: Rank, shared: bool = False) -> str | None:
    """Return the named device, or else a GPU if torch finds one; each rank of a machine gets its own.

    ``shared`` means that the command uses the device for more than the segmenter. None if nothing needs a device.
    """
    if options.device is None and not shared and not _takes_device(options.segmenter):
        return None
    import torch

    from sapd_plugin.priors.extraction.ranks import rank_device

    device = options.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    return rank_device(device, rank, torch.cuda.device_count())


def build_from_options(options: argparse.Namespace, device: str | None, shared: bool = False) -> Segmenter:
    """Build the segmenter; the arguments are those of `choose_device`.

    Raises:
        SAPDError: an unknown segmenter or setting, or one that the segmenter refuses.
    """
    from sapd_plugin.priors.segmenters import build_segmenter

    settings = read_settings('--set', options.settings)
    given = {'checkpoint': options.checkpoint and str(options.checkpoint), 'preset': options.preset}
    settings |= {key: value for key, value in given.items() if value is not None}
    # A segmenter without a device refuses --device, unless something else uses it.
    if _takes_device(options.segmenter) or (options.device is not None and not shared):
        settings.setdefault('device', device)
    return build_segmenter(options.segmenter, **settings)


def describe(segmenter: Segmenter, device: str | None) -> Iterator[str]:
    """Yield a line for the segmenter and its settings, and one for its checkpoint."""
    preset = f', preset {segmenter.settings["preset"]}' if 'preset' in segmenter.settings else ''
    yield f'segmenter: {segmenter.settings["segmenter"]}{preset} {segmenter.settings["parameters"]}'
    if 'checkpoint_sha256' in segmenter.settings:
        checkpoint = getattr(segmenter, 'checkpoint', '')
        yield f'checkpoint: {checkpoint} sha256 {segmenter.settings["checkpoint_sha256"]}, device {device}'


def _takes_device(segmenter: str) -> bool:
    from sapd_plugin.priors.segmenters import SEGMENTERS

    factory = SEGMENTERS.get(segmenter)
    return factory is not None and 'device' in inspect.signature(factory).parameters
