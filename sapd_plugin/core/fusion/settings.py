"""The settings of the fusion, checked before a network is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sapd_plugin.core.fusion.region import LAYERS, REGION_FUSIONS
from sapd_plugin.errors import SAPDError, check_choice, check_count

FUSIONS = (*REGION_FUSIONS, 'image', 'none')
INPUTS = ('restored', 'degraded')
CONTEXTS = ('patch', 'image')
IMAGE_KEYS = ('encoding', 'planes', 'width')


@dataclass(frozen=True)
class FusionSettings:
    """How masks enter the second network; see :class:`~sapd_plugin.core.SPF` for the arguments.

    Raises:
        SAPDError: naming the setting, what was found and what is expected.
    """

    fusion: str | Sequence[str] = 'modulate'
    inputs: Sequence[str] = ('restored',)
    context: str = 'patch'
    max_regions: int = 64
    mask_dropout: float = 0.1
    one_region: bool = False
    fusion_layers: Sequence[str] | None = None
    encoding: str | None = None
    planes: int | None = None
    width: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.fusion, (str, Sequence)):
            raise SAPDError(f'fusion: found {self.fusion!r}, expected one name or a list of different ones.')
        for kind in self.kinds:
            check_choice('fusion', kind, FUSIONS)
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise SAPDError(f'fusion: found {self.fusion!r}, expected one name or a list of different ones.')
        alone = [kind for kind in self.kinds if kind not in REGION_FUSIONS]
        if alone and len(self.kinds) > 1:
            raise SAPDError(f"fusion: '{alone[0]}' cannot be combined with others, found {self.fusion!r}.")
        _check_inputs(self.inputs)
        check_choice('context', self.context, CONTEXTS)
        check_count('max_regions', self.max_regions)
        if not _is_number(self.mask_dropout) or not 0 <= self.mask_dropout <= 1:
            raise SAPDError(f'mask_dropout: found {self.mask_dropout!r}, expected a probability from 0 to 1.')
        if not isinstance(self.one_region, bool):
            raise SAPDError(f'one_region: found {self.one_region!r}, expected true or false.')
        self._check_readers()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names in ``fusion``."""
        return (self.fusion,) if isinstance(self.fusion, str) else tuple(self.fusion)

    @property
    def degraded(self) -> bool:
        """Whether the degraded image enters."""
        return 'degraded' in self.inputs

    def _check_readers(self) -> None:
        """Refuse settings that the chosen fusion does not read."""
        for key in IMAGE_KEYS:
            if getattr(self, key) is not None and self.kinds != ('image',):
                raise SAPDError(f'{key}: read by fusion: image alone, found with fusion: {self._named()}.')
        if self.degraded and self.kinds == ('image',):
            raise SAPDError('inputs: fusion: image reads the restored image alone. Choose another fusion.')
        if self.context == 'image' and self.kinds[0] not in REGION_FUSIONS:
            raise SAPDError(f'context: image is not read by fusion: {self._named()}. Choose another fusion.')
        if self.fusion_layers is not None:
            _check_names('fusion_layers', self.fusion_layers)
            if not any(kind in LAYERS for kind in self.kinds):
                readers = ' and '.join(LAYERS)
                raise SAPDError(f'fusion_layers: read by {readers} alone, found with fusion: {self._named()}.')

    def _named(self) -> str:
        return ', '.join(self.kinds)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_names(key: str, names: object) -> None:
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise SAPDError(f'{key}: found {names!r}, expected a list of names.')
    for name in names:
        if not isinstance(name, str):
            raise SAPDError(f'{key}: found {name!r} in the list, expected a name.')


def _check_inputs(inputs: Sequence[str]) -> None:
    _check_names('inputs', inputs)
    for name in inputs:
        check_choice('inputs', name, INPUTS)
    if 'restored' not in inputs or len(set(inputs)) < len(inputs):
        raise SAPDError(f'inputs: found {list(inputs)}, expected [restored] or [restored, degraded].')
