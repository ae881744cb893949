"""Entry point of ``sapd weights``."""

from sapd_plugin.cli.weights import main

if __name__ == '__main__':
    raise SystemExit(main())
