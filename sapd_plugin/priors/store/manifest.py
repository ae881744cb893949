"""The manifest of a mask store: its settings, their fingerprint, and the check that settings match."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store.codec import FINGERPRINT_BYTES
from sapd_plugin.regular_files import read_regular

FORMAT = 'sapd-mask-store'
VERSION = 1
MANIFEST = 'manifest.json'
# Settings that are kept and shown but do not change the masks, so the fingerprint leaves them out.
INFORMATIVE = ('versions', 'note', 'device')
# Levels of settings within settings; the deepest of ours have 3.
MAX_DEPTH = 32


def fingerprint(settings: Mapping[str, Any]) -> bytes:
    """Hash the settings that change the masks: 16 bytes of the SHA-256 of their canonical JSON.

    Raises:
        SAPDError: a setting is not a JSON value.
    """
    decisive = {key: value for key, value in settings.items() if key not in INFORMATIVE}
    return hashlib.sha256(_canonical(decisive).encode()).digest()[:FINGERPRINT_BYTES]


def to_json(settings: Mapping[str, Any]) -> str:
    """Return a manifest as JSON. Its fingerprint is for people; readers compute it from the settings."""
    _canonical(settings)
    decisive = fingerprint(settings).hex()
    manifest = {'format': FORMAT, 'version': VERSION, 'fingerprint': decisive, 'settings': dict(settings)}
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + '\n'
    # A path that is not valid UTF-8 has lone surrogates; the escape of Python is that of JSON.
    return text.encode('utf-8', 'backslashreplace').decode()


def from_json(text: str | bytes, where: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the settings of the manifest ``text``, which was found at ``where``.

    Raises:
        SAPDError: it is not a manifest of this version.
    """
    try:
        manifest = json.loads(text)
        form, version, settings = manifest['format'], manifest['version'], manifest['settings']
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SAPDError(f"{where}: found other content, expected a mask store's manifest ({error!r}).") from error
    if _is_deeper(settings, MAX_DEPTH):
        raise SAPDError(f'{where}: found settings of more than {MAX_DEPTH} levels, expected fewer.')
    if (form, version) != (FORMAT, VERSION) or not isinstance(settings, dict):
        raise SAPDError(f'{where}: found {form!r} of version {version!r}, expected {FORMAT!r} of version {VERSION}.')
    return settings


def read_settings(store: Path) -> dict[str, Any]:
    """Return the settings of the store in folder ``store``; raise SAPDError if it is not a store."""
    try:
        text = read_regular(store / MANIFEST)
    except OSError as error:
        raise SAPDError(
            f'mask store {store}: found no readable {MANIFEST} ({error.strerror}), expected the folder that '
            '`sapd extract-masks` wrote.'
        ) from error
    return from_json(text, store / MANIFEST)


def read_fingerprint(store: Path) -> str:
    """Return the fingerprint of the store in folder ``store``, 32 hex digits. Raises as `read_settings` does."""
    return fingerprint(read_settings(store)).hex()


def check_same(where: str | os.PathLike[str], found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse masks that were made with different settings. Raises SAPDError, which lists the differences."""
    if fingerprint(found) != fingerprint(expected):
        different = '; '.join(differences(found, expected))
        raise SAPDError(f'{where}: its masks were made with different settings: {different}.')


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """List each setting of the fingerprint that differs, with both values; nested ones as ``a.b``."""
    flat_found, flat_expected = _flatten(found), _flatten(expected)
    return [
        f'{key}: found {flat_found.get(key, "nothing")}, expected {flat_expected.get(key, "nothing")}'
        for key in sorted(flat_found.keys() | flat_expected.keys())
        if flat_found.get(key) != flat_expected.get(key) and key.split('.')[0] not in INFORMATIVE
    ]


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(item, levels - 1) for item in inner)


def _canonical(settings: Mapping[str, Any]) -> str:
    try:
        return json.dumps(settings, sort_keys=True, separators=(',', ':'), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SAPDError(f'mask settings: found {dict(settings)!r}, expected JSON values ({error}).') from error


def _flatten(settings: Mapping[str, Any], prefix: str = '') -> dict[str, str]:
    flat = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, f'{prefix}{key}.'))
        else:
            flat[f'{prefix}{key}'] = json.dumps(value)
    return flat
