"""Dataset classes with masks, made at run time from a mixin of ours and a class of a framework or a user."""

from __future__ import annotations

from typing import Any


class MaskedDataset:
    """Base of such mixins: its classes can be pickled for spawned workers, although no module holds them.

    Attributes:
        mixin: the mixin that a class was made with.
        base_class: the dataset class that it was made from.
    """

    mixin: type[MaskedDataset]
    base_class: type

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.mixin, self.base_class, self.__dict__)


def masked_class(mixin: type[MaskedDataset], base: type) -> Any:
    """Return the class of ``base`` with ``mixin`` before it in the order of methods."""
    return type(f'Masked{base.__name__}', (mixin, base), {'mixin': mixin, 'base_class': base})


def _restore(mixin: type[MaskedDataset], base: type, state: dict[str, Any]) -> Any:
    made = masked_class(mixin, base)
    dataset = made.__new__(made)
    dataset.__dict__.update(state)
    return dataset
