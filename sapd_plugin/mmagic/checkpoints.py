"""Permission for torch >= 2.6 to read what MMEngine writes.

Since 2.6, ``torch.load`` only creates objects of trusted classes by default. MMEngine's training states hold its own
log buffers and numpy arrays, so resuming and testing refuse its own files.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer


def trust_own_checkpoints() -> None:
    """Trust the classes in a training state of MMEngine, and no others; older torch needs nothing."""
    trust = getattr(torch.serialization, 'add_safe_globals', None)
    if trust is None:
        return
    # numpy pickles an array as a call of this function, which moved in numpy 2.
    rebuild = np.array(0).__reduce__()[0]
    scalars = {type(np.dtype(kind)) for kind in ('float64', 'float32', 'int64', 'int32', 'bool')}
    scalar = np.float64(0).__reduce__()[0]
    trust([HistoryBuffer, np.ndarray, np.dtype, rebuild, scalar, *scalars])
    trust([(_statistics_method, 'builtins.getattr')])


def _statistics_method(owner: object, name: str) -> Callable[..., object]:
    """Replace getattr, with which a log buffer refers to its methods, but a malicious file to anything.

    ``_statistics_methods`` is private to MMEngine; checked against 0.10.7.
    """
    method = HistoryBuffer()._statistics_methods.get(name)  # the first instance fills the table
    if owner is not HistoryBuffer or method is None:
        raise ValueError(f'a checkpoint asks for {name!r} of {owner!r}, which no training state of MMEngine contains.')
    return method
