"""Entry point of ``sapd quickstart``."""

from sapd_plugin.cli.quickstart import main

if __name__ == '__main__':
    raise SystemExit(main())
