"""A trained student of an MMagic config: its network, and the model whose own test restores images with it.

The config may be of a training or a test, stock or with SAM priors, in text or in pure Python. What only training
needs is not built: no second network, no losses of BaseEditModel, and no model class, if it is one that is not
registered here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmagic.models.base_models import BaseEditModel
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn

from sapd_plugin.archs import weights
from sapd_plugin.archs.weights import BY_IMPORT, load_weights
from sapd_plugin.core.archives import LOADS_TRUSTED_ONLY
from sapd_plugin.errors import SAPDError, nearest
from sapd_plugin.mmagic.delta import inner_datasets, is_sapd_model, plain, read_config, stock_model
from sapd_plugin.mmagic.options import find_type

GENERATOR = 'generator.'


def read_student(config: Path) -> Config:
    """Read an MMagic config of an image model, and run its imports.

    Raises:
        SAPDError: it cannot be read, has no generator, or names a network that is not registered.
    """
    init_default_scope('mmagic')
    found = read_config(str(config))
    generator = (found.get('model') or {}).get('generator')
    if not isinstance(generator, Mapping) or 'type' not in generator:
        raise SAPDError(f"{config}: found no 'model.generator', expected an MMagic config of an image model.")
    kind = generator['type']
    if find_type(kind) is None:
        near = nearest(kind, MODELS.module_dict)
        raise SAPDError(f"{config}: model.generator.type: found '{kind}', which is not registered.{near} {BY_IMPORT}")
    return found


def build_network(config: Path) -> nn.Module:
    """Build the network ``model.generator`` of a config, with new weights.

    Raises:
        SAPDError: as :func:`read_student`, or the network cannot be built from its block.
    """
    block = plain(read_student(config).model['generator'])
    try:
        return MODELS.build(block)
    except Exception as error:
        reason = ' '.join(str(error).split())[:500]
        raise SAPDError(f'{config}: model.generator: cannot be built: {type(error).__name__}: {reason}') from error


def read_checkpoint(path: Path) -> Any:
    """Read a checkpoint, also one of MMEngine's, on the CPU.

    Raises:
        SAPDError: there is no such file, or it is of another kind or damaged.
    """
    try:
        return weights.read_checkpoint(path)
    except SAPDError:
        # Importing the adapter lets torch >= 2.6 read what MMEngine saves beside the weights. Older torch cannot read
        # it without running code from the file, so that is read as MMagic's own tools do.
        if not path.is_file() or LOADS_TRUSTED_ONLY:
            raise
        return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


def student_model(model: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the config of the model whose test restores images, and a note if it is not the config's own.

    SPF is not used in a test, so a SAPDModel's base is that model. It keeps the classes of a config in pure Python.
    """
    student = plain(model)
    if is_sapd_model(student):
        student = stock_model(student)
    kind, note = find_type(student.get('type')), ''
    if kind is None:
        named = student.get('type')
        note = f"the model '{named}' is not registered here, so BaseEditModel's test is used.{_near(named)} {BY_IMPORT}"
    if kind is None or kind is BaseEditModel:
        keys = ('generator', 'data_preprocessor', 'train_cfg', 'test_cfg')
        student = {key: student[key] for key in keys if key in student}
        student |= {'type': BaseEditModel, 'pixel_loss': {'type': 'L1Loss'}}
    return student, note


def build_student(config: Config, checkpoint: Path, device: str) -> tuple[Any, str]:
    """Build the model of a config for a test, with a student's weights.

    Args:
        config: from :func:`read_student`.
        checkpoint: ``iter_*.pth`` (averaged, with MMEngine's EMA), or weights of the generator alone.
        device: 'cpu', 'cuda', 'cuda:1', ...

    Returns:
        The model, and a note as that of :func:`student_model`.
    """
    MMLogger.get_instance('sapd_restorer').setLevel(logging.ERROR)
    block, note = student_model(config.model)
    model = MODELS.build(block)
    saved = load_weights(model.generator, checkpoint, read=read_checkpoint)
    # Other networks of a model of the user's own. What else the file holds is of losses, or of the training.
    others = {key for key in model.state_dict() if not key.startswith(GENERATOR)}
    if others:
        state = saved.get('state_dict', {}) if isinstance(saved, Mapping) else {}
        lacking = sorted(others - set(state))
        if lacking:
            raise SAPDError(f'{checkpoint}: found no weights of {", ".join(lacking[:3])}, expected those of the model.')
        model.load_state_dict({key: state[key] for key in others}, strict=False)
    return model.to(device).eval(), note


def image_loader(config: Config) -> Mapping[str, Any]:
    """Return the transform that loads the degraded image in validation, test or training, whichever has one."""
    return next((transform for transform in _transforms(config) if transform.get('key') == 'img'), {})


def _near(name: object) -> str:
    return nearest(name, (key for key, kind in MODELS.module_dict.items() if _is_model(kind)))


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseEditModel)


def _transforms(config: Config) -> Iterator[Mapping[str, Any]]:
    """Yield the transforms of all data sets of the config: those of validation, test and training, in this order."""
    for phase in ('val', 'test', 'train'):
        loaders = config.get(f'{phase}_dataloader') or []
        for loader in [loaders] if isinstance(loaders, Mapping) else loaders:
            for _, dataset in inner_datasets(loader.get('dataset') or {}):
                yield from (each for each in dataset.get('pipeline') or [] if isinstance(each, Mapping))
