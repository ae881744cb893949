"""SAM priors for image restoration: SPF, SPD and SGR for BasicSR and MMagic.

Importing this package imports neither torch nor a framework; import ``sapd_plugin.basicsr`` or
``sapd_plugin.mmagic`` to register the plugin with the framework, or let :func:`use` do it from a config file.
"""

from __future__ import annotations

__version__ = '0.1.0'


def use(name: str) -> str:
    """Register the plugin with BasicSR and return ``name`` unchanged.

    BasicSR has no key that imports a plugin, but its YAML loader can call a function. Writing
    ``model_type: !!python/object/apply:sapd_plugin.use [SAPDModel]`` therefore loads the plugin under BasicSR's own
    ``train.py`` and ``test.py``, before any registry is asked.

    Args:
        name: the registry name that the YAML key is to hold.

    Returns:
        The same name.
    """
    import sapd_plugin.basicsr  # noqa: F401  (the import registers)

    return name
