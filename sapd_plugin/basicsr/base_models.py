"""The model of BasicSR that SAPDModel wraps: its name, and what it needs in the options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.models.sr_model import SRModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils.registry import MODEL_REGISTRY, Registry

from sapd_plugin.basicsr.option_kinds import require
from sapd_plugin.core import refuse_base
from sapd_plugin.core.rehearsal import empty_images, rehearse, student_input
from sapd_plugin.errors import SAPDError, check_choice, describe

# Base models whose batches masks cannot follow; their subclasses are refused, too.
REFUSED = {
    'RealESRGANModel': 'it degrades, pools and crops the batch again on the device, so masks lose their images',
    'RealESRNetModel': 'it degrades, pools and crops the batch again on the device, so masks lose their images',
    'VideoBaseModel': 'it trains on clips, and a mask belongs to one image',
    'StyleGAN2Model': 'it generates from noise, so there is no restored image',
}


def find_registered(registry: Registry, name: object) -> Any:
    """Look up a name as the registry's ``get`` does, without its output; None if it is not registered."""
    found, name = dict(iter(registry)), str(name)  # a config may hold anything here
    return found.get(name, found.get(f'{name}_basicsr'))


def check_model_type(opt: Mapping[str, Any], training: bool = True) -> None:
    """Refuse a model that is not registered, and for training one that would ignore ``network_spf``.

    Raises:
        SAPDError: naming the key, what was found and the nearest valid name.
    """
    name = opt.get('model_type')
    if find_registered(MODEL_REGISTRY, name) is None:
        check_choice('model_type', name, sorted(MODEL_REGISTRY.keys()))
    if training and name != 'SAPDModel' and opt.get('network_spf'):
        raise SAPDError(
            f"model_type: found '{name}', which ignores network_spf and would train without SAM priors. Expected "
            f"'SAPDModel' with base_model_type: {name}, or for a stock training no network_spf."
        )


def base_model_class(opt: Mapping[str, Any]) -> type:
    """Return the class that SAPDModel wraps.

    Raises:
        SAPDError: no such model in BasicSR's registry, or it cannot keep masks aligned.
    """
    name = opt.get('base_model_type', 'SRModel')
    base = find_registered(MODEL_REGISTRY, name)
    if base is None or name == 'SAPDModel':
        check_choice('base_model_type', name, sorted(set(MODEL_REGISTRY.keys()) - {'SAPDModel'}))
    refuse_base('base_model_type', base, REFUSED)
    return base


def from_basicsr(part: Any) -> bool:
    """Return whether a class or a function is BasicSR's or this package's, so that what it reads is known."""
    return str(part.__module__).partition('.')[0] in ('basicsr', 'sapd_plugin')


def check_base_keys(base: type, opt: Mapping[str, Any]) -> None:
    """Refuse options that lack what BasicSR's own base models need: a loss, or the parts of a GAN.

    Raises:
        SAPDError: naming the key.
    """
    train, build = opt['train'], base.init_training_settings  # type: ignore[attr-defined]
    if build is SRModel.init_training_settings and not (train.get('pixel_opt') or train.get('perceptual_opt')):
        raise SAPDError(
            f'train.pixel_opt: missing, and {base.__name__} needs a loss of its own beside those of the priors: add '
            'pixel_opt (such as {type: L1Loss, loss_weight: 1.0, reduction: mean}), perceptual_opt, or both.'
        )
    if issubclass(base, SRGANModel) and from_basicsr(build):
        require('', opt, ('network_d',))
        for key in ('gan_opt', 'optim_d'):
            if not train.get(key):
                raise SAPDError(f'train.{key}: missing, and {base.__name__} needs it.')


def check_base_losses(model: Any, channels: int) -> None:
    """Refuse a loss of BasicSR's own base models that does not take what the network returns.

    A student that cannot be called with an image alone is not checked, nor is a base model that calls its losses in a
    way of its own.

    Args:
        model: whose networks and losses are built, with attributes named as SRModel's.
        channels: of its images.

    Raises:
        SAPDError: naming the loss and what the network returns.
    """
    base = next(kind for kind in type(model).__mro__ if kind.__name__ == model.base_name)
    if not from_basicsr(base.optimize_parameters):  # type: ignore[attr-defined]
        return
    _check_discriminator(model, channels)
    network, scale = model.get_bare_model(model.net_g), model.opt.get('scale', 1)
    degraded = student_input(network, channels, scale)
    try:
        output = rehearse(network, degraded)
    except Exception:  # of a network that a user wrote: any
        return
    height, width = degraded.shape[2:]
    truth = degraded.new_zeros(len(degraded), channels, height * scale, width * scale)
    several = isinstance(output, (list, tuple))
    for key, name in (('pixel_opt', 'cri_pix'), ('perceptual_opt', 'cri_perceptual')):
        loss = getattr(model, name, None)
        if loss is None:
            continue
        try:
            rehearse(loss, output, truth)
        except Exception as error:  # of a loss that a user wrote: any
            kind = model.opt['train'][key].get('type') or type(loss).__name__
            found = f'{len(output)} images' if several else f'an image {tuple(output.shape)}'
            hint = " Expected type: MultiOutputLoss, with this loss's block as 'criteria'." if several else ''
            raise SAPDError(
                f'train.{key}: {kind} does not take what network_g returns, {found} ({describe(error)}).{hint}'
            ) from error


def _check_discriminator(model: Any, channels: int) -> None:
    """Refuse a discriminator that does not take patches. Raises SAPDError."""
    side = model.opt['datasets']['train'].get('gt_size')
    if not isinstance(model, SRGANModel) or not side:
        return
    network = model.get_bare_model(model.net_d)
    try:
        rehearse(network, empty_images(network, channels, (side, side)))
    except Exception as error:  # of a network that a user wrote: any
        raise SAPDError(
            f'network_d: {type(network).__name__} does not take a patch of {side}x{side} (datasets.train.gt_size) with '
            f'{channels} channels ({describe(error)}).'
        ) from error
