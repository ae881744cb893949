"""Entry point of ``sapd reproduce``."""

from sapd_plugin.cli.reproduce import main

if __name__ == '__main__':
    raise SystemExit(main())
