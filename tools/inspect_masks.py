"""Entry point of ``sapd inspect-masks``."""

from sapd_plugin.cli.inspect_masks import main

if __name__ == '__main__':
    raise SystemExit(main())
