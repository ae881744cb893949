"""The optimizer of the SPF branch: its own one by config, with gradients clipped separately from the student's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

from mmagic.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from sapd_plugin.core.stepping import before_each_step
from sapd_plugin.errors import SAPDError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SAPDOptimWrapperConstructor:
    """Give SPF an optimizer of its own, of any type, inside the single wrapper that MMagic's training step takes.

    For just a different learning rate or weight decay, ``paramwise_cfg=dict(custom_keys={'spf': ...})`` of MMEngine's
    own constructor is enough.

    Args:
        optim_wrapper_cfg: as for MMEngine's constructor, and ``spf_optimizer``, the config of SPF's optimizer.
        paramwise_cfg: the student's, as for MMEngine's constructor.

    Raises:
        SAPDError: ``spf_optimizer`` is missing, or the model is not a SAPDModel.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        self.config = deepcopy(optim_wrapper_cfg)
        self.spf_optimizer = self.config.pop('spf_optimizer', None)
        self.paramwise_cfg = paramwise_cfg
        if not self.spf_optimizer:
            raise SAPDError(
                "optim_wrapper.spf_optimizer: missing, expected a block such as dict(type='Adam', lr=1e-4)."
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper around both optimizers."""
        model = getattr(model, 'module', model)
        spf = getattr(model, 'spf', None)
        if not isinstance(spf, nn.Module):
            raise SAPDError(f'optim_wrapper.constructor: {type(model).__name__} has no SPF, expected a SAPDModel.')
        student = nn.Module()
        for name, child in model.named_children():
            if name != 'spf':
                student.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            student.register_parameter(name, parameter)
        wrapper = DefaultOptimWrapperConstructor(deepcopy(self.config), self.paramwise_cfg)(student)
        branch = OPTIMIZERS.build({**self.spf_optimizer, 'params': list(spf.parameters())})
        joint = JointOptimizer([wrapper.optimizer, branch])
        return OPTIM_WRAPPERS.build({'type': 'OptimWrapper', **self.config, 'optimizer': joint})


class JointOptimizer(Optimizer):
    """Several optimizers as one: schedulers, scalers and wrappers see all parameter groups.

    Args:
        optimizers: of disjoint parameters. Their group dicts are shared, so a rate that is set here applies to them.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        self.optimizers = list(optimizers)
        self.defaults = self.optimizers[0].defaults  # MMEngine logs their base rate

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step each optimizer."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return {'optimizers': [the state dict of each]}."""
        return {'optimizers': [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        for optimizer, state in zip(self.optimizers, state_dict['optimizers']):
            optimizer.load_state_dict(state)
        # Loading replaces an optimizer's groups with new dicts.
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]


def clip_apart(wrapper: OptimWrapper, branch: Iterable[nn.Parameter]) -> None:
    """Let ``wrapper`` clip the branch's gradients separately.

    One norm over both networks would let SPF's gradient shrink the student's. The norm that is logged is the
    student's, as in a stock run.
    """
    if not wrapper.clip_grad_kwargs:
        return
    clip: Callable[..., Any] = wrapper.clip_func
    of_branch = {id(parameter) for parameter in branch}

    def clip_both(parameters: list[Tensor], **kwargs: Any) -> Any:
        ours = [p for p in parameters if id(p) in of_branch]
        if ours:
            clip(ours, **kwargs)
        return clip([p for p in parameters if id(p) not in of_branch], **kwargs)

    wrapper.clip_func = clip_both


def accumulated_gradients(wrapper: OptimWrapper) -> list[Tensor | None]:
    """Return the gradients of all parameters if the latest iteration is one of several that make a step, else none."""
    if wrapper.should_update():
        return []
    return [None if each.grad is None else each.grad.cpu() for each in _parameters(wrapper)]


def restore_gradients(wrapper: OptimWrapper, gradients: Sequence[Tensor | None]) -> None:
    """Let parameters have the gradients that :func:`accumulated_gradients` returned."""
    for parameter, gradient in zip(_parameters(wrapper), gradients):
        parameter.grad = None if gradient is None else gradient.to(parameter.device)


def _parameters(wrapper: OptimWrapper) -> list[nn.Parameter]:
    return [parameter for group in wrapper.optimizer.param_groups for parameter in group['params']]


def scales_losses(wrapper: OptimWrapper) -> bool:
    """Return whether ``wrapper`` scales losses, and so skips steps whose gradients overflow, as MMEngine's AMP does."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()


def guard(branch: Iterable[nn.Parameter]) -> None:
    """Replace gradients of the branch that overflow by 0, before a loss scaler sees them.

    One scaler serves both networks. It would skip the student's step and halve the scale because of SPF alone.
    """
    for parameter in branch:
        parameter.register_hook(lambda gradient: gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))


def rest(wrapper: OptimWrapper, branch: Sequence[nn.Parameter], trained: Callable[[], bool]) -> None:
    """Leave the branch as it is in the optimizer's steps for which it was not trained.

    Distributed training gives it gradients of 0 there, and weight decay and momentum would still move it.

    Args:
        wrapper: whose optimizer steps.
        branch: parameters of the branch.
        trained: returns whether the branch was trained since the optimizer's last step.
    """

    def forget() -> None:
        if not trained():
            for parameter in branch:
                parameter.grad = None

    before_each_step(wrapper.optimizer, forget)
