"""Masks: segmenters, label maps, the store that training reads, and the job that fills it."""

from sapd_plugin.priors.codec import Record, RecordError
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter, mask_key

__all__ = ['LabelMap', 'MaskStore', 'MaskStoreWriter', 'Record', 'RecordError', 'mask_key']
