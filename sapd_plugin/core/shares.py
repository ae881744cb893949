"""The warning about a gradient that is too small to teach, or larger than that of the base's own losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from sapd_plugin.core.distiller import Distiller

WINDOW = 20
LOWEST, HIGHEST = 1e-3, 1.0


class ShareWatch:
    """Warn once for each loss whose gradient is, on average over some steps, out of proportion.

    Steps at which a loss adds nothing are left out: its gate is closed, or a patch has no regions.

    Args:
        distiller: knows the losses and their schedules.
        warn: called with a sentence.
    """

    def __init__(self, distiller: Distiller, warn: Callable[[str], None]) -> None:
        self.distiller, self.warn = distiller, warn
        self._window: dict[str, list[float]] = {}
        self._warned: set[str] = set()

    def __call__(self, values: Mapping[str, float], iteration: int) -> None:
        """Note the shares of one step, of the losses whose schedule is at full strength.

        Args:
            values: of ``StepRecord.shares`` on the host; others are ignored.
            iteration: counted from 1.
        """
        for loss in self.distiller.losses:
            name = f'share_{loss[2:]}'
            if name not in values or self.distiller.factor(loss, iteration) < 1:
                continue
            share = values[name]
            window = self._window.setdefault(name, [])
            if name in self._warned or not (share > 0 and math.isfinite(share)):
                continue
            window.append(share)
            if len(window) < WINDOW:
                continue
            mean = sum(window) / WINDOW
            window.clear()
            if not LOWEST <= mean <= HIGHEST:
                self._warned.add(name)
                effect = 'too little to teach anything' if mean < LOWEST else "so SAPD outweighs the base's own losses"
                self.warn(
                    f"{name}: the gradient that reached the student was {mean:.2g} of the base's own on average over "
                    f'{WINDOW} steps up to iteration {iteration}, {effect}. Expected {LOWEST:g} to {HIGHEST:g}: with '
                    "'balance: gradient', loss_weight is this share, whatever the base's loss is."
                )
