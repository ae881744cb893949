"""Kill trainings that save at each iteration, at random moments, resume them, and check that nothing is lost.

python -m tests.stress.kill_saves basicsr|mmagic [--kills 40] [--iterations 60] [--seed 0] [--folder DIR]

Each training is forked from this process, which has imported everything, so that kills hit its work. A killed training
is started again with --auto_resume or --resume, until it ends. Its last weights have to be those of a training that was
not interrupted, bit for bit. Exit status: 0 all checks passed, 1 one did not.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from tests.photos import make_pairs, make_store, segmented
from tests.stress.forks import fork


class Training(ABC):
    """A training that can be started below a folder, and again."""

    def __init__(self, folder: Path, pairs: Path, store: Path, iterations: int) -> None:
        self.folder, self.pairs, self.store, self.iterations = folder, pairs, store, iterations
        folder.mkdir()

    @staticmethod
    @abstractmethod
    def prepare() -> None:
        """Import what training needs, in the process that is forked."""

    @abstractmethod
    def run(self) -> None:
        """Train to the end in this process, or resume."""

    @abstractmethod
    def weights(self) -> Any:
        """Return what the finished training has saved."""

    @property
    @abstractmethod
    def saving(self) -> Path:
        """The folder in which a file is written last."""

    def start(self) -> int:
        """Fork a process that trains, and return its process id."""
        process = fork()
        if process == 0:
            status = 99
            with contextlib.suppress(BaseException), (self.folder / 'output.txt').open('a') as log:
                os.setpgid(0, 0)  # so that its workers can be killed, too
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                try:
                    self.run()
                    status = 0
                except BaseException:
                    sys.excepthook(*sys.exc_info())
            os._exit(status)
        return process

    def output(self) -> str:
        """Return what all processes have printed so far."""
        file = self.folder / 'output.txt'
        return file.read_text(errors='replace') if file.is_file() else ''


class BasicSRTraining(Training):
    """BasicSR's train_pipeline, with a GAN, which saves more files."""

    @staticmethod
    def prepare() -> None:
        importlib.import_module('sapd_plugin.basicsr.train')
        importlib.import_module('tests.adapters_basicsr.recipes')

    def run(self) -> None:
        from sapd_plugin.basicsr import train
        from tests.adapters_basicsr.recipes import sapd_options, write_yaml

        changes = {
            'base_model_type': 'SRGANModel',
            'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4},
            'train:gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
            'train:optim_d': {'type': 'Adam', 'lr': 1e-3},
            'train:total_iter': self.iterations,
            'train:scheduler:milestones': [self.iterations // 2],
            'logger:save_checkpoint_freq': 1,
            'val:val_freq': 5,
            'datasets:train:dataset_enlarge_ratio': 7,
            'datasets:train:num_worker_per_gpu': 2,
        }
        yaml = write_yaml(sapd_options(self.pairs, self.store, **changes), self.folder / f'{os.getpid()}.yml')
        os.chdir(self.folder)
        if any((self.folder / 'experiments').glob('*_archived_*')):
            time.sleep(1)  # BasicSR renames the folder of a run without a state, to a name that is new each second
        sys.argv = ['basicsr', '-opt', str(yaml), '--auto_resume']
        train.main()

    def weights(self) -> Any:
        folder = self.folder / 'experiments/sapd/models'
        return [torch.load(folder / f'net_{name}_{self.iterations}.pth') for name in ('g', 'd', 'spf')]

    @property
    def saving(self) -> Path:
        return self.folder / 'experiments/sapd/training_states'


class MMagicTraining(Training):
    """MMEngine's runner, which keeps one checkpoint and the best one."""

    @staticmethod
    def prepare() -> None:
        importlib.import_module('tests.adapters_mmagic.recipes').shipped()

    def run(self) -> None:
        from mmengine.config import Config
        from mmengine.registry import init_default_scope
        from mmengine.runner import Runner, runner

        from tests.adapters_mmagic.recipes import sapd_config

        hook = {'type': 'CheckpointHook', 'interval': 1, 'by_epoch': False, 'max_keep_ckpts': 1}
        changes = {
            'train_cfg:max_iters': self.iterations,
            'train_cfg:val_interval': 5,
            'param_scheduler:milestones': [self.iterations // 2],
            'default_hooks:checkpoint': {**hook, 'save_best': 'PSNR', 'rule': 'greater'},
            'train_dataloader:num_workers': 1,
        }
        init_default_scope('mmagic')
        config = Config(sapd_config(self.pairs, self.store, **changes))
        config.work_dir, config.resume = str(self.folder / 'work'), True
        config.experiment_name = f'{self.folder.name}-{os.getpid()}-{time.time_ns()}'
        runner.collect_env = dict
        Runner.from_cfg(config).train()

    def weights(self) -> Any:
        checkpoint = torch.load(self.folder / f'work/iter_{self.iterations}.pth')
        return [checkpoint['state_dict'], checkpoint['sapd']['spf'], checkpoint['optimizer']['state']]

    @property
    def saving(self) -> Path:
        return self.folder / 'work'


TRAININGS = {'basicsr': BasicSRTraining, 'mmagic': MMagicTraining}


def torment(training: Training, kills: int, rng: random.Random) -> tuple[int, list[str]]:
    """Kill and resume a training until ``kills`` are done, then let it end.

    Half of the kills wait for the first file of a save, so that they hit saves.

    Returns:
        The number of kills, and what went wrong.
    """
    done, problems = 0, []
    while not problems:
        process = training.start()
        hit = done < kills and _kill(training, process, rng)
        _, status = os.waitpid(process, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)  # the workers of the loader
        if hit and os.WIFSIGNALED(status):
            done += 1
        elif status:
            problems.append(f'after {done} kills: status {status}; {training.output()[-1500:]}')
        else:
            break
    return done, problems


def _kill(training: Training, process: int, rng: random.Random) -> bool:
    """Kill a process during one of its next saves; return False if it ends before."""
    saves = rng.randint(1, 4)
    seen: set[str] = set()
    while len(seen) < saves:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        drafts = [str(path) for path in training.folder.glob('**/.*.draft')]
        seen.update(draft for draft in drafts if draft not in seen)
        time.sleep(0.0005)
    time.sleep(rng.expovariate(1 / rng.choice((0.0005, 0.003, 0.02))))
    os.kill(process, signal.SIGKILL)
    return True


def check(training: Training, reference: Training) -> list[str]:
    """Compare the weights of a finished training with those of one that was never interrupted."""
    ours, expected = (json.dumps(_plain(each.weights())) for each in (training, reference))
    drafts = [str(path) for path in training.folder.glob('**/.*.draft')]
    return [*([] if ours == expected else ['other weights']), *(f'left: {path}' for path in drafts)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


def run(framework: str, folder: Path, kills: int, iterations: int, seed: int) -> list[str]:
    """Torment as many trainings as it takes; print each, return all problems."""
    # A fork takes no threads along, and would wait for them.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    TRAININGS[framework].prepare()
    pairs = make_pairs(folder / 'pairs', 4, (64, 80))
    store = make_store(folder / 'masks', pairs / 'clean', segmented)
    kind, rng = TRAININGS[framework], random.Random(seed)
    reference = kind(folder / 'reference', pairs, store, iterations)
    _, problems = torment(reference, 0, rng)
    done = number = 0
    while done < kills and not problems:
        training = kind(folder / f'training-{number}', pairs, store, iterations)
        here, problems = torment(training, kills - done, rng)
        problems = problems or check(training, reference)
        skipped = len(re.findall('is skipped', training.output()))
        print(f'{training.folder.name}: {here} kills, {skipped} states skipped, {len(problems)} problems', flush=True)
        done, number = done + here, number + 1
    print(f'{framework}: {done} kills in {number} trainings: {len(problems)} problems')
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('framework', choices=TRAININGS)
    parser.add_argument('--kills', type=int, default=40)
    parser.add_argument('--iterations', type=int, default=60)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', type=Path, help='keep everything here; by default it is deleted')
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        problems = run(options.framework, folder, options.kills, options.iterations, options.seed)
    print(*problems, sep='\n', end='')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
