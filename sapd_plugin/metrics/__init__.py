"""Named protocols by which papers measure restored images, and PSNR and SSIM under each, for any framework."""

from sapd_plugin.metrics.color import canonical_color, gray, luma
from sapd_plugin.metrics.protocols import PROTOCOLS, Protocol, check_metric, comparable, find_protocol
from sapd_plugin.metrics.quality import protocol_psnr, protocol_ssim, psnr, ssim
from sapd_plugin.metrics.quantisation import QUANTISE, to_8_bits

__all__ = [
    'PROTOCOLS',
    'QUANTISE',
    'Protocol',
    'canonical_color',
    'check_metric',
    'comparable',
    'find_protocol',
    'gray',
    'luma',
    'protocol_psnr',
    'protocol_ssim',
    'psnr',
    'ssim',
    'to_8_bits',
]
