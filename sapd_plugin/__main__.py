"""Entry point of ``python -m sapd_plugin``: the command ``sapd``."""

from sapd_plugin.cli.main import main

if __name__ == '__main__':
    raise SystemExit(main())
