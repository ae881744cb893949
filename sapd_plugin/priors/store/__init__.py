"""The mask store: its reader, its writer and the records between them."""

from sapd_plugin.priors.store.keys import mask_key
from sapd_plugin.priors.store.reader import MaskStore
from sapd_plugin.priors.store.writer import MaskStoreWriter

__all__ = ['MaskStore', 'MaskStoreWriter', 'mask_key']
