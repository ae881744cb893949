"""How papers measure restored images: named protocols, and PSNR and SSIM under each of them. Knows no framework."""

from sapd_plugin.metrics.colour import grey, luma
from sapd_plugin.metrics.protocols import PROTOCOLS, Protocol, check_metric, comparable
from sapd_plugin.metrics.quality import protocol_psnr, protocol_ssim, psnr, ssim
from sapd_plugin.metrics.quantisation import QUANTISE, to_8_bits

__all__ = [
    'PROTOCOLS',
    'QUANTISE',
    'Protocol',
    'check_metric',
    'comparable',
    'grey',
    'luma',
    'protocol_psnr',
    'protocol_ssim',
    'psnr',
    'ssim',
    'to_8_bits',
]
