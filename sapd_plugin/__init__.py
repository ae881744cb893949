"""SAM priors for image restoration: SPF, SPD and SGR for BasicSR and MMagic.

Importing this package imports neither torch nor a framework; import ``sapd_plugin.basicsr`` or
``sapd_plugin.mmagic`` to register the plugin with the framework, or let :func:`use` do it from a config file.
"""

from __future__ import annotations

__version__ = '0.1.0'


def use(name: str) -> str:
    """Register the plugin with BasicSR and return ``name`` unchanged.

    BasicSR has no key that imports a plugin, but its YAML loader can call a function. With
    ``model_type: !!python/object/apply:sapd_plugin.use [SAPDModel]`` in a YAML, BasicSR's own ``train.py`` and
    ``test.py`` import the plugin before they look up ``SAPDModel``.
    """
    import sapd_plugin.basicsr  # noqa: F401  (the import registers)

    return name
