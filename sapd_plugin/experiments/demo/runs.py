"""Runs BasicSR's train and test pipelines as a user does, with a progress bar, and takes up finished runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from sapd_plugin.experiments.commands import output_lines


def train(opt: dict[str, Any], folder: Path) -> Path:
    """Train, go on with an interrupted run, or take a finished one.

    Args:
        opt: BasicSR options; experiments go below ``folder``.
        folder: working folder.

    Returns:
        The folder of the trained models.

    Raises:
        SAPDError: the training failed; the end of its output is in the message.
    """
    models = folder / 'experiments' / opt['name'] / 'models'
    option_file = folder / f'{opt["name"]}.yml'
    text = yaml.safe_dump(opt, sort_keys=False)
    same = option_file.is_file() and option_file.read_text(encoding='utf-8') == text
    if same and (models / 'net_g_latest.pth').is_file():
        print(f'  {models} is there already')
        return models
    option_file.write_text(text, encoding='utf-8')
    command = [sys.executable, '-m', 'sapd_plugin.basicsr.train', '-opt', option_file.name]
    if same:
        command.append('--auto_resume')
    total = opt['train']['total_iter']
    with tqdm(total=total, unit='it', desc=f'  {opt["name"]}', mininterval=1) as bar:
        for line in output_lines(command, folder):
            found = re.search(r'iter:\s*([\d,]+)', line)
            if found:
                bar.update(int(found[1].replace(',', '')) - bar.n)
    return models


def test(opt: dict[str, Any], folder: Path) -> tuple[dict[str, float], Path]:
    """Test, or take a finished test of the same options.

    Returns:
        The metrics that BasicSR printed, and the folder of the restored images.
    """
    option_file, record = folder / f'{opt["name"]}.yml', folder / f'{opt["name"]}.metrics.yml'
    images = folder / 'results' / opt['name'] / 'visualization' / opt['datasets']['test']['name']
    text = yaml.safe_dump(opt, sort_keys=False)
    student = Path(opt['path']['pretrain_network_g'])
    fresh = record.is_file() and record.stat().st_mtime > student.stat().st_mtime
    if fresh and option_file.is_file() and option_file.read_text(encoding='utf-8') == text and images.is_dir():
        return yaml.safe_load(record.read_text(encoding='utf-8')), images
    option_file.write_text(text, encoding='utf-8')
    metrics = {}
    for line in output_lines([sys.executable, '-m', 'sapd_plugin.basicsr.test', '-opt', option_file.name], folder):
        found = re.search(r'# (\w+): ([\d.]+)', line)
        if found:
            metrics[found[1]] = float(found[2])
    record.write_text(yaml.safe_dump(metrics), encoding='utf-8')
    return metrics, images
