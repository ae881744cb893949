"""The command ``sapd``: what it lists, how it ends, and what the commands share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sapd_plugin import __version__
from sapd_plugin.cli import common, extract_masks
from sapd_plugin.cli.main import COMMANDS, find_module, main
from sapd_plugin.errors import SAPDError
from sapd_plugin.mistakes import interruptible
from sapd_plugin.priors.labels import LabelMap
from tests.photos import ROOT, make_pairs


def test_the_help_lists_every_command_and_imports_none() -> None:
    code = 'import sys; from sapd_plugin.cli.main import main\ntry: main(["--help"])\nfinally: print(*sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    for name, summary in COMMANDS.items():
        assert f'{name} ' in done.stdout
        assert summary in done.stdout
    modules = done.stdout.splitlines()[-1].split()
    assert 'sapd_plugin.cli.main' in modules
    assert not {'torch', 'numpy', 'cv2', *map(find_module, COMMANDS)} & set(modules)


@pytest.mark.parametrize('name', [name for name in COMMANDS if name not in ('quickstart', 'reproduce')])
def test_every_command_shows_its_own_help(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, '--help'])
    assert ended.value.code == 0
    assert f'usage: sapd {name} ' in capsys.readouterr().out


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(['--version'])
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(('name', 'near'), [('extract-maks', 'extract-masks'), ('wieghts', 'weights')])
def test_an_unknown_command_is_refused_with_the_nearest(name: str, near: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name])
    assert ended.value.code == 2
    assert f"found no command '{name}'" in (message := capsys.readouterr().err)
    assert f"Did you mean '{near}'?" in message


@pytest.mark.parametrize(
    ('name', 'package', 'extra'), [('prepare-dataset', 'msgspec', 'data'), ('inference-cost', 'pandas', 'experiments')]
)
def test_a_missing_package_is_named_with_its_extra(name: str, package: str, extra: str) -> None:
    code = f'import sys; sys.modules["{package}"] = None; from sapd_plugin.cli.main import main; sys.exit(main(["{name}"]))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    expected = f"needs {package}, which is not installed. Run: pip install 'sapd_plugin[{extra}]'"
    assert expected in done.stderr


def raising(error: BaseException):
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ('work', 'status', 'message'),
    [
        (lambda: None, common.DONE, ''),
        (lambda: common.FINDING, common.FINDING, ''),
        (raising(SAPDError('--x: found y, expected z.')), common.MISTAKE, 'error: --x: found y, expected z.\n'),
        (raising(OSError('disk full')), common.MISTAKE, 'error: disk full\n'),
        (raising(KeyboardInterrupt()), common.INTERRUPTED, f'{common.RESUMABLE}\n'),
    ],
)
def test_the_exit_status_says_how_a_command_ended(work, status, message, capsys: pytest.CaptureFixture) -> None:
    assert common.exit_status(work) == status
    assert capsys.readouterr().err == message


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_background_job_is_interrupted_by_both_signals(number: int) -> None:
    """A shell starts background jobs with SIGINT ignored."""
    code = (
        'import time; from sapd_plugin.cli.common import exit_status\n'
        'def work():\n    print("ready", flush=True)\n    time.sleep(60)\n'
        'raise SystemExit(exit_status(work))'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdout.readline() == 'ready\n'
    time.sleep(0.1)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == common.INTERRUPTED
    assert common.RESUMABLE in err


def test_the_handlers_of_signals_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interruptible():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def wait() -> None:
    for _ in range(2000):
        time.sleep(0.01)
    raise AssertionError('nothing stopped it')


def test_stop_after_ends_a_command_with_a_status_of_its_own(capsys: pytest.CaptureFixture) -> None:
    def work() -> None:
        with common.stopping(0.001):
            wait()

    assert common.exit_status(work) == common.STOPPED == 75
    assert capsys.readouterr().err == (
        'Stopped by --stop-after 0.001. Finished work is kept; rerun the same command to resume.\n'
    )


def test_work_that_ends_in_time_or_by_ctrl_c_is_not_stopped(capsys: pytest.CaptureFixture) -> None:
    with common.stopping(0.001):
        pass
    with common.stopping(None):
        time.sleep(0.1)  # what is left of the first would end this
    with pytest.raises(KeyboardInterrupt) as ended, common.stopping(1):
        raise KeyboardInterrupt
    assert not isinstance(ended.value, common.Stopped)


@pytest.mark.parametrize('minutes', [0.0, -1.0, float('nan'), float('inf')])
def test_stop_after_is_a_number_above_zero(minutes: float) -> None:
    with (
        pytest.raises(SAPDError, match=f'--stop-after: found {minutes}, expected a number > 0'),
        common.stopping(minutes),
    ):
        pass


def test_a_limit_beyond_what_a_thread_can_wait_for_is_none(monkeypatch) -> None:
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, 'excepthook', failed.append)
    with common.stopping(1e300):
        time.sleep(0.05)
    assert not failed


def test_a_limit_that_is_reached_as_the_work_ends_is_told_as_such(monkeypatch) -> None:
    """The timer's thread has begun to interrupt, and the work is over before the interruption arrives."""
    interrupt, begun = common.interrupt_main, threading.Event()

    def late() -> None:
        begun.set()
        time.sleep(0.05)
        interrupt()

    monkeypatch.setattr(common, 'interrupt_main', late)
    with pytest.raises(common.Stopped), common.stopping(0.0001):
        assert begun.wait(10)


@pytest.mark.parametrize(('images', 'status'), [(3, common.STOPPED), (0, common.MISTAKE)])
def test_an_extraction_stops_by_itself(images: int, status: int, tmp_path: Path, monkeypatch, capsys) -> None:
    """A run that has written nothing is an error, since a rerun would not do more."""
    make_pairs(tmp_path, 4, (16, 16))
    segmented: list[np.ndarray] = []

    def segment(image: np.ndarray) -> LabelMap:
        if len(segmented) >= images:
            wait()
        segmented.append(image)
        return LabelMap.from_labels(np.ones(image.shape[:2], np.int32))

    segment.settings = {'segmenter': 'mine'}  # type: ignore[attr-defined]
    monkeypatch.setattr(extract_masks, 'build_from_options', lambda *_: segment)
    monkeypatch.setattr(extract_masks, 'describe', lambda *_: [])
    command = ['extract-masks', '--images', str(tmp_path / 'clean'), '--output', str(tmp_path / 'masks')]
    assert main([*command, '--segmenter', 'felzenszwalb', '--stop-after', '0.02']) == status
    written = capsys.readouterr()
    if images:
        assert '3 masks written, 0 kept, 0 failed, 1 left' in written.out
        assert 'Stopped by --stop-after 0.02' in written.err
    else:
        assert 'error: --stop-after: found 0.02 minutes, in which no mask was written, so' in written.err


def test_arms_and_settings_are_read_or_refused() -> None:
    assert common.read_pairs('--restored', ['stock=a', 'sapd=b=c']) == {'stock': 'a', 'sapd': 'b=c'}
    assert common.read_settings('--set', ['a=1', 'b=x', 'c=[1, 2]']) == {'a': 1, 'b': 'x', 'c': [1, 2]}
    for items in (['stock'], ['=x'], ['.hidden=x'], ['a/b=x']):
        with pytest.raises(SAPDError, match='expected (ARM=|a name in letters)'):
            common.read_pairs('--restored', items)
    with pytest.raises(SAPDError, match='found a twice'):
        common.read_pairs('--restored', ['a=1', 'a=2'])
    with pytest.raises(SAPDError, match='expected KEY=VALUE'):
        common.read_settings('--set', ['a'])


def test_each_tool_is_the_entry_point_of_one_command() -> None:
    tools = list((ROOT / 'tools').glob('*.py'))
    assert {'extract_masks.py', 'weights.py'} <= {path.name for path in tools}
    assert all(len(path.read_text().splitlines()) <= 30 for path in tools)
    lines = sum(len(path.read_text().splitlines()) for path in Path(ROOT / 'tools').iterdir() if path.is_file())
    assert lines <= 600
    done = subprocess.run([sys.executable, 'tools/weights.py', '--help'], cwd=ROOT, capture_output=True, text=True)
    assert 'usage: sapd weights' in done.stdout, done.stderr
