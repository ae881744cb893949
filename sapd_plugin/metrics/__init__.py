"""PSNR and SSIM under the named protocols of papers, independent of either framework."""

from sapd_plugin.metrics.protocols import (
    PROTOCOLS,
    QUANTISE,
    Protocol,
    canonical_color,
    check_metric,
    comparable,
    find_protocol,
    gray,
    luma,
    to_8_bits,
)
from sapd_plugin.metrics.quality import protocol_psnr, protocol_ssim, psnr, ssim

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
