"""Images that a pipeline cannot read, or whose sizes do not fit it: the error names the file, also from a worker."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from mmagic.datasets.transforms import LoadImageFromFile

from sapd_plugin.errors import SAPDError, describe


def name_unreadable_images() -> None:
    """Apply the change to MMagic's loader, once; called when :mod:`sapd_plugin.mmagic` is imported.

    It raises OpenCV's own error, or one of a missing attribute.
    """
    LoadImageFromFile._load_image = _naming(LoadImageFromFile._load_image)


def _naming(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def load_image(self: LoadImageFromFile, filename: str) -> Any:
        try:
            image = stock(self, filename)
        except Exception as error:  # of a backend's or a decoder's: any
            raise SAPDError(f'{filename}: cannot be read ({describe(error)}), expected an image.') from error
        if image is None:
            raise SAPDError(f'{filename}: cannot be decoded, expected an image.')
        return image

    return load_image


def run_step(where: str, transform: Callable[[dict[str, Any]], Any], name: str, results: dict[str, Any]) -> Any:
    """Run a step of a pipeline, and name the image for which it fails.

    Args:
        where: config key of the pipeline.
        transform: the step.
        name: of its class.
        results: of the steps before it.

    Raises:
        SAPDError: naming the step and the image.
    """
    try:
        return transform(results)
    except SAPDError:
        raise
    except Exception as error:  # of a transform that a user wrote: any
        raise SAPDError(f'{where}: {name} fails for {_files(results)} ({describe(error)}).') from error


def _files(results: Mapping[str, Any]) -> str:
    paths = dict.fromkeys(str(results[key]) for key in ('img_path', 'gt_path') if results.get(key))
    return ' and '.join(paths) or 'an image'
