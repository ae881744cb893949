"""The optimizer of the SPF branch: its own by config, and its gradients clipped apart from the student's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

from mmagic.registry import OPTIM_WRAPPERS, OPTIMIZERS
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from sapd_plugin.errors import SAPDError


class SAPDOptimWrapperConstructor:
    """Give SPF an optimizer of its own, of any type, inside the one wrapper that MMagic's training step takes.

    Without it the student's optimizer trains SPF too, and ``paramwise_cfg=dict(custom_keys={'spf': ...})`` of
    MMEngine's own constructor scales its learning rate and weight decay.

    Args:
        optim_wrapper_cfg: as for MMEngine's constructor, and ``spf_optimizer``, the config of SPF's optimizer.
        paramwise_cfg: the student's, as for MMEngine's constructor.

    Raises:
        SAPDError: ``spf_optimizer`` is missing, or the model is no SAPDModel.
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
        if not isinstance(getattr(model, 'spf', None), nn.Module):
            raise SAPDError(f'optim_wrapper.constructor: {type(model).__name__} has no SPF, expected a SAPDModel.')
        student = nn.Module()
        for name, child in model.named_children():
            if name != 'spf':
                student.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            student.register_parameter(name, parameter)
        own = DefaultOptimWrapperConstructor(deepcopy(self.config), self.paramwise_cfg)(student).optimizer
        spf = OPTIMIZERS.build({**self.spf_optimizer, 'params': list(model.spf.parameters())})
        config = {**self.config, 'optimizer': JointOptimizer([own, spf])}
        config.setdefault('type', 'OptimWrapper')
        return OPTIM_WRAPPERS.build(config)


class JointOptimizer(Optimizer):
    """Several optimizers behind one interface: schedulers, scalers and wrappers see all parameter groups.

    Args:
        optimizers: of disjoint parameters; ``defaults`` are those of the first.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        # Not Optimizer's own constructor: it would make groups and states of its own.
        self.optimizers = list(optimizers)
        self.defaults = self.optimizers[0].defaults

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of all of them, in order; the dicts are the optimizers' own."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def state(self) -> dict[Any, Any]:  # type: ignore[override]
        """The states of all of them, by parameter."""
        return {key: value for optimizer in self.optimizers for key, value in optimizer.state.items()}

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step each of them."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all of them."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """Return {'optimizers': [a state dict each]}."""
        return {'optimizers': [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # type: ignore[override]
        """Undo :meth:`state_dict`."""
        for optimizer, state in zip(self.optimizers, state_dict['optimizers']):
            optimizer.load_state_dict(state)

    def __repr__(self) -> str:
        return '\n'.join(repr(optimizer) for optimizer in self.optimizers)


def clip_apart(wrapper: OptimWrapper, branch: Iterable[nn.Parameter]) -> None:
    """Let ``wrapper`` clip the branch's gradients by themselves.

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
