"""The settings of the fusion, checked before a network is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from sapd_plugin.core.fusion.image import ENCODINGS
from sapd_plugin.core.fusion.region import LAYERS, REGION_FUSIONS
from sapd_plugin.errors import SAPDError
from sapd_plugin.values import Count, Share, Valid, check_fields, check_names, one_of

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

    fusion: Annotated[str | Sequence[str], Valid(check_names, several=False, valid=FUSIONS)] = 'modulate'
    inputs: Annotated[Sequence[str], Valid(check_names, valid=INPUTS)] = ('restored',)
    context: Annotated[str, one_of(*CONTEXTS)] = 'patch'
    max_regions: Count = 64
    mask_dropout: Share = 0.1
    one_region: bool = False
    fusion_layers: Annotated[Sequence[str], Valid(check_names)] | None = None
    encoding: Annotated[str, one_of(*ENCODINGS)] | None = None
    planes: Count | None = None
    width: Count | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        alone = [kind for kind in self.kinds if kind not in REGION_FUSIONS]
        if alone and len(self.kinds) > 1:
            raise SAPDError(f"fusion: '{alone[0]}' cannot be combined with others, found {self.fusion!r}.")
        if 'restored' not in self.inputs:
            raise SAPDError(f'inputs: found {list(self.inputs)}, expected [restored] or [restored, degraded].')
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
        if self.fusion_layers is not None and not any(kind in LAYERS for kind in self.kinds):
            readers = ' and '.join(LAYERS)
            raise SAPDError(f'fusion_layers: read by {readers} alone, found with fusion: {self._named()}.')

    def _named(self) -> str:
        return ', '.join(self.kinds)
