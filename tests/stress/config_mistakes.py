"""Draw random mistakes in configs, and check that each is named before the first step; right values have to train.

python -m tests.stress.config_mistakes [--basicsr 400] [--mmagic 250] [--valid 60] [--seed 0] [--processes 3]

What is drawn from, and what messages have to hold, is ``config_mistakes.yml``. A mistake that ends in any other error than
SAPDError, whose message lacks the key, or with which a step is trained is a problem, and so is a valid value that does not
train. Everything runs in this process, up to the first step, in the order of the real tools; ``--processes`` of the
mistakes of each framework go through the real train commands as well. Exit status: 0 no problem, 1 there are some.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import logging
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import yaml

from sapd_plugin.errors import SAPDError
from tests.recipes import update

DATA = yaml.safe_load((Path(__file__).with_suffix('.yml')).read_text(encoding='utf-8'))
Config = dict[str, Any]


class Case(NamedTuple):
    """A change to a config.

    Attributes:
        key: the config key, ':' between levels; of a misspelt key, the wrong name.
        value: what it gets.
        changes: all that is changed, in the form that `update` takes.
        words: of which the message has to hold one; empty for a valid value.
    """

    key: str
    value: Any
    changes: Config
    words: Sequence[str]


def cases(framework: str, valid: bool, files: Path) -> list[Case]:
    """Return all single changes of the data that are valid, or all that are not."""
    found = []
    for key, entry in DATA[framework].items():
        kind, name = DATA['kinds'][entry['kind']], 'valid' if valid else 'invalid'
        without = [repr(value) for value in entry.get('except', [])]
        values = [value for value in kind[name] if repr(value) not in without] + entry.get(name, [])
        words = entry.get('words', [key.split(':')[-1]])
        for value in values:
            if isinstance(value, str):
                value = value.replace('FILES', str(files))
            wrapped = {entry['wrap']: value} if 'wrap' in entry else value
            found.append(Case(key, value, {**entry.get('with', {}), key: wrapped}, () if valid else words))
    return found


def misspelt(framework: str, rng: random.Random) -> Case:
    """Return a case with a key that lacks a letter, or has two exchanged."""
    block = rng.choice(sorted(DATA['misspelt'][framework]))
    name = rng.choice(DATA['misspelt'][framework][block])
    while True:
        i = rng.randrange(1, len(name))
        wrong = (
            name[:i] + name[i + 1 :] if rng.random() < 0.5 else name[: i - 1] + name[i] + name[i - 1] + name[i + 1 :]
        )
        if wrong != name and wrong not in DATA['misspelt'][framework][block]:
            key = f'{block}:{wrong}' if block else wrong
            return Case(key, 1, {key: 1}, [wrong])


def draw(framework: str, count: int, rng: random.Random, files: Path) -> list[Case]:
    """Return ``count`` different mistakes, a tenth of them misspelt keys; as far as there are so many, one per key."""
    known = cases(framework, False, files)
    rng.shuffle(known)
    seen: dict[str, int] = {}
    for case in known:
        seen[case.key] = seen.get(case.key, 0) + 1
        case.changes['\0order'] = seen[case.key]  # of the first mistakes of all keys before the second ones
    known.sort(key=lambda case: case.changes.pop('\0order'))
    spelt = count // 10
    return [*known[: count - spelt], *(misspelt(framework, rng) for _ in range(spelt))]


def make_files(folder: Path) -> Path:
    """Write files that are not the weights which their names promise."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({'other.weight': torch.zeros(3, 3)}, folder / 'other.pth')
    torch.save([1, 2], folder / 'list.pth')
    torch.save({'params': {'features.0.weight': torch.full((64, 3, 3, 3), float('nan'))}}, folder / 'nan.pth')
    whole = (folder / 'other.pth').read_bytes()
    (folder / 'cut.pth').write_bytes(whole[: len(whole) // 2])
    (folder / 'empty.pth').write_bytes(b'')
    (folder / 'page.pth').write_text('<!DOCTYPE html><html><body>404: Not Found</body></html>')
    (folder / 'text.pth').write_text('These are no weights.\n')
    (folder / 'lfs.pth').write_text('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n')
    return folder


class BasicSR:
    """Trains a step of small BasicSR options, in the order of BasicSR's ``train_pipeline``."""

    name = 'basicsr'

    def __init__(self, pairs: Path, store: Path, vgg: Path, folder: Path) -> None:
        import sapd_plugin.basicsr  # noqa: F401
        from tests.adapters_basicsr.recipes import sapd_options

        self.folder = folder
        self.config = sapd_options(pairs, store, vgg)
        self.config['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [4], 'gamma': 0.5}

    def train(self, config: Config) -> None:
        from basicsr.data import build_dataset
        from basicsr.models import build_model
        from torch.utils.data import default_collate

        from sapd_plugin.basicsr.launch import build_checked, check_training
        from sapd_plugin.basicsr.option_kinds import check_sections
        from tests.adapters_basicsr.recipes import parsed

        check_sections(config)
        opt = parsed(config, self.folder)
        check_training(opt)
        dataset, *_ = [build_checked(build_dataset, each, opt) for each in opt['datasets'].values()]
        batch = default_collate([dataset[0], dataset[1]])
        model = build_model(opt)
        for iteration in (1, 2):
            model.update_learning_rate(iteration, warmup_iter=opt['train'].get('warmup_iter', -1))
            model.feed_data(batch)
            model.optimize_parameters(iteration)

    def command(self, config: Config) -> list[str]:
        from tests.adapters_basicsr.recipes import write_yaml

        return ['-m', 'sapd_plugin.basicsr.train', '-opt', str(write_yaml(config, self.folder / 'mistake.yml'))]


class MMagic:
    """Trains a step of a small MMagic config, in the order of MMagic's train tool."""

    name = 'mmagic'

    def __init__(self, pairs: Path, store: Path, vgg: Path, folder: Path) -> None:
        from tests.adapters_mmagic.recipes import sapd_config

        self.folder = folder
        self.config = sapd_config(pairs, store, vgg, **{'train_cfg:max_iters': 1, 'train_cfg:val_begin': 9})
        self.config['default_hooks']['checkpoint'].update(interval=9, save_last=False)
        self.config['log_level'] = 'ERROR'
        for key in ('test_cfg', 'test_dataloader', 'test_evaluator'):
            self.config.pop(key)

    def train(self, config: Config) -> None:
        from mmengine.config import Config as MMConfig
        from mmengine.dataset import base_dataset
        from mmengine.registry import init_default_scope
        from mmengine.runner import Runner, runner

        from sapd_plugin.mmagic.run_checks import run_checks
        from sapd_plugin.mmagic.run_errors import named_parts

        init_default_scope('mmagic')
        with (
            mock.patch.object(runner, 'collect_env', dict),
            mock.patch.object(MMConfig, 'pretty_text', ''),
            mock.patch.object(base_dataset.gc, 'collect', int),
            named_parts(),
        ):
            whole = MMConfig({**config, 'work_dir': str(self.folder / 'work')})
            run_checks(whole)
            Runner.from_cfg(whole).train()

    def command(self, config: Config) -> list[str]:
        from tests.adapters_mmagic.recipes import write_config

        return ['-m', 'sapd_plugin.mmagic.train', str(write_config(config, self.folder / 'mistake.py'))]


Trainer = BasicSR | MMagic
TRAINERS: dict[str, Callable[..., Trainer]] = {'basicsr': BasicSR, 'mmagic': MMagic}


def problem(trainer: Trainer, case: Case) -> str:
    """Train with a change; return what is wrong with the outcome, or an empty string."""
    config = copy.deepcopy(trainer.config)
    try:
        update(config, case.changes)
    except TypeError as error:
        return f'{case.key}: the data are wrong: {error}'
    what = f'{trainer.name} {case.key}: {case.value!r}'
    try:
        with _quiet():
            trainer.train(config)
    except SAPDError as error:
        if not case.words:
            return f'{what} is valid, and refused: {error}'
        if not any(word in str(error) for word in case.words):
            return f'{what}: the message names none of {", ".join(case.words)}: {error}'
        return ''
    except Exception as error:
        return f'{what} ends in {type(error).__name__}: {" ".join(str(error).split())[:300]}'
    return f'{what} trains in silence' if case.words else ''


def problem_of_command(trainer: Trainer, case: Case) -> str:
    """Run the real train command with a mistake; return what is wrong with its end, or an empty string."""
    from tests.photos import run

    config = update(copy.deepcopy(trainer.config), case.changes)
    found = run(trainer.command(config), trainer.folder)
    last = ([line for line in found.stderr.splitlines() if line.strip()] or [''])[-1]
    if found.returncode != 2 or not last.startswith('error: ') or 'Traceback' in found.stderr:
        return f'{trainer.name} {case.key}: {case.value!r}: the command ends with {found.returncode}, {last[:300]}'
    return '' if any(word in last for word in case.words) else f'{trainer.name} {case.key}: the last line is {last}'


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def campaign(trainer: Trainer, mistakes: int, valid: int, processes: int, seed: int, files: Path) -> list[str]:
    """Try random mistakes, valid values and commands; print and return the problems."""
    rng = random.Random(seed)
    drawn = draw(trainer.name, mistakes, rng, files)
    right = cases(trainer.name, True, files)
    rng.shuffle(right)
    problems = [problem(trainer, case) for case in [*drawn, *right[:valid]]]
    written = [case for case in drawn if 'nan' not in repr(case.value) and 'inf' not in repr(case.value)]  # to a file
    commands = rng.sample(written, min(processes, len(written)))
    problems += [problem_of_command(trainer, case) for case in commands]
    problems = [each for each in problems if each]
    tried = f'{len(drawn)} mistakes, {len(right[:valid])} valid values, {len(commands)} commands'
    print(f'{trainer.name}: {tried}: {len(problems)} problems', *problems, sep='\n', flush=True)
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--basicsr', type=int, default=400)
    parser.add_argument('--mmagic', type=int, default=250)
    parser.add_argument('--valid', type=int, default=60)
    parser.add_argument('--processes', type=int, default=3)
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args(arguments)
    from sapd_plugin.compat import alias_functional_tensor

    alias_functional_tensor()
    from tests.photos import make_pairs, make_store, make_vgg

    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pairs = make_pairs(folder / 'pairs', 4, (96, 112))
        store, vgg, files = (
            make_store(folder / 'masks', pairs / 'clean'),
            make_vgg(folder),
            make_files(folder / 'files'),
        )
        for name, build in TRAINERS.items():
            count = getattr(options, name)
            if not count:
                continue
            trainer = build(pairs, store, vgg, folder)
            found += campaign(trainer, count, options.valid, options.processes, options.seed, files)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
