"""How masks enter the second network (the key ``network_spf.fusion``)."""

from sapd_plugin.core.fusion.building import build_fusion
from sapd_plugin.core.fusion.injection import injected
from sapd_plugin.core.fusion.partition import CONTEXT_STATISTICS
from sapd_plugin.core.fusion.settings import FUSIONS, FusionSettings
from sapd_plugin.core.fusion.trial import refusals

__all__ = ['CONTEXT_STATISTICS', 'FUSIONS', 'FusionSettings', 'build_fusion', 'injected', 'refusals']
