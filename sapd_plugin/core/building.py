"""Builders and checks of config blocks that both adapters share, independent of the frameworks' registries."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from torch import nn

from sapd_plugin.core.fusion import CONTEXT_STATISTICS, refusals
from sapd_plugin.core.rehearsal import empty_images, rehearse
from sapd_plugin.core.schedule import check_schedule
from sapd_plugin.core.sgr import SGRLoss
from sapd_plugin.core.spd import SPDLoss
from sapd_plugin.core.spf import SPF
from sapd_plugin.errors import SAPDError, check_keys, describe, nearest, within
from sapd_plugin.values import check_arguments

Loss = TypeVar('Loss', bound=nn.Module)


def build_spf(key: str, build_network: Callable[[Any], nn.Module], network: Any, settings: Mapping[str, Any]) -> SPF:
    """Build :class:`SPF` with a second network from a config block.

    Args:
        key: config key of the branch, for messages.
        build_network: builds a network from its block.
        network: block of any registered network with scale 1.
        settings: the other arguments of :class:`SPF`.

    Raises:
        SAPDError: no ``network``, or an unknown or invalid setting.
    """
    check_keys(key, settings, inspect.signature(SPF).parameters)
    if not network:
        raise SAPDError(f'{key}.network: missing, expected the block of a registered network (type, ...).')
    with within(key):
        try:
            second = build_network(network)
        except SAPDError:
            raise
        except Exception as error:  # of a network that a user wrote: any
            name = network.get('type') if isinstance(network, Mapping) else network
            raise SAPDError(f'network: {name} cannot be built from these arguments ({describe(error)}).') from error
        return SPF(second, **settings)


def build_branch(
    key: str,
    build: Callable[[Any], nn.Module],
    block: Mapping[str, Any],
    patch_size: int = 64,
    student: str = '',
    **defaults: Any,
) -> nn.Module:
    """Build the SPF branch, or a user's own, and run it once, so that it is refused before the first step.

    Args:
        key: config key of the branch, for messages.
        build: builds a network from its block.
        block: the branch's config.
        patch_size: side in pixels of the patch that the branch is run on.
        student: config key of the network that ``defaults`` holds, for messages.
        **defaults: settings for keys that ``block`` lacks, including ``image_channels``.

    Raises:
        SAPDError: an invalid setting, or a second network that does not take a restored image, changes its size, or
            returns several images and not the one of ``output_index``.
    """
    settings = {**defaults, **block}
    try:
        try:
            branch = build(settings)
        except SAPDError:
            raise
        except Exception as error:  # of a branch that a user wrote: any
            raise SAPDError(
                f"{key}.type: '{block.get('type')}' cannot be built from the arguments of the branch "
                f"({describe(error)}). Expected SPF, whose 'network' may be any network."
            ) from error
        with within(key):
            _try_out(branch, settings['image_channels'], patch_size)
    except SAPDError as error:
        if student and 'network' not in block and str(error).startswith(f'{key}.network: '):
            raise SAPDError(f'{error} It is a copy of {student}, because {key}.network is missing.') from error
        raise
    return branch


def _try_out(branch: nn.Module, channels: int, size: int) -> None:
    """Rehearse the branch on empty patches."""
    patch = empty_images(branch, channels, (size, size))
    inputs = {}
    if getattr(branch, 'needs_degraded', False):
        inputs['degraded'] = patch
    if getattr(branch, 'needs_context', False):
        inputs['context'] = patch.new_zeros(len(patch), 1, CONTEXT_STATISTICS)
    with refusals(tuple(patch.shape)):
        rehearse(branch, patch, patch[:, :1].int(), **inputs)


def build_typed_loss(
    key: str, kind: type[Loss], block: Mapping[str, Any] | None, build: Callable[[Any], Any]
) -> Loss | None:
    """Build a loss that has to be a ``kind``; return None if there is no block.

    Args:
        key: config key of the block, for messages.
        kind: SPDLoss or SGRLoss.
        block: the loss's config.
        build: builds a loss from its block.

    Raises:
        SAPDError: the block names a different loss, or has an invalid value.
    """
    if not block:
        return None
    with within(key):
        loss = build(block)
    if not isinstance(loss, kind):
        raise _other_loss(key, block['type'], kind)
    return loss


def check_block(
    key: str, block: Any, find: Callable[[str], Any], names: Iterable[str], given: Iterable[str] = ()
) -> None:
    """Refuse a config block whose type is not registered, or whose keys or values its type does not take.

    Args:
        key: config key of the block, for messages.
        block: ``type``, a registered name or a class, and its arguments.
        find: returns the registered object with a name, or None.
        names: all registered names.
        given: names of the arguments that the framework passes.

    Raises:
        SAPDError: naming the key, what was found and the nearest valid name.
    """
    if not isinstance(block, Mapping):
        raise SAPDError(f"{key}: found {block!r}, expected a block with 'type' and its arguments.")
    kind = block.get('type')
    built = kind if callable(kind) else find(str(kind))
    if built is None:
        raise SAPDError(f"{key}.type: found '{kind}', expected a registered name.{nearest(kind, names)}")
    check_arguments_of(key, {name: value for name, value in block.items() if name != 'type'}, built, given)


def check_arguments_of(key: str, arguments: Mapping[str, Any], built: Any, given: Iterable[str] = ()) -> None:
    """Refuse arguments that a class or function does not take or cannot mean, or that lack one which it needs.

    Args:
        key: config key of the block that holds the arguments, for messages.
        arguments: the block without its type.
        built: the class or function.
        given: names of the arguments that the framework passes.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    parameters = {name: p for name, p in inspect.signature(built).parameters.items() if name not in given}
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        check_keys(key, arguments, [name for name, p in parameters.items() if p.kind not in variable])
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and parameter.kind not in variable and name not in arguments:
            raise SAPDError(f'{key}.{name}: missing, and {getattr(built, "__name__", built)} needs it.')
    check_arguments(key, arguments, built)


def check_losses(
    where: str, losses: Mapping[str, Any], check: Callable[[str, Any], None], find: Callable[[str], Any]
) -> None:
    """Refuse a config without a distillation loss, or with a mistake in a loss block.

    Args:
        where: config key of the block that holds the losses, for messages.
        losses: key -> block (or None) of SPD, SGR and the second reconstruction loss, in this order.
        check: called with the key and block of each loss.
        find: returns the registered object with a name, or None.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    spd, sgr, _ = losses
    if not losses[spd] and not losses[sgr]:
        raise SAPDError(
            f'{where}: neither {spd} nor {sgr} is there, so the student would learn nothing from the masks. Add '
            f'{spd} with type SPDLoss, {sgr} with type SGRLoss, or both.'
        )
    for (key, block), kind in zip(losses.items(), (SPDLoss, SGRLoss, nn.Module)):
        if block:
            name = block.get('type') if isinstance(block, Mapping) else None
            found = find(str(name)) if isinstance(name, str) else name
            if isinstance(found, type) and not issubclass(found, kind):
                raise _other_loss(f'{where}.{key}', name, kind)
            check(f'{where}.{key}', block)
            if kind is not nn.Module:
                check_schedule(f'{where}.{key}', block)


def _other_loss(key: str, name: object, kind: type) -> SAPDError:
    return SAPDError(f"{key}.type: found '{name}', expected {kind.__name__} or a subclass of it.")


def refuse_base(key: str, base: type, reasons: Mapping[str, str]) -> None:
    """Refuse a base model that is a subclass of a class in ``reasons`` (class name -> reason).

    Raises:
        SAPDError: naming ``key``, the model and the reason.
    """
    for ancestor in inspect.getmro(base):
        if ancestor.__name__ in reasons:
            raise SAPDError(f'{key}: {base.__name__} cannot be used, because {reasons[ancestor.__name__]}.')
