"""Masks: segmenters, label maps, the store that training reads, and the job that fills it."""

from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter, mask_key
from sapd_plugin.priors.store.codec import Record, RecordError

__all__ = ['LabelMap', 'MaskStore', 'MaskStoreWriter', 'Record', 'RecordError', 'mask_key']
