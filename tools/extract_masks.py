"""Entry point of ``sapd extract-masks``."""

from sapd_plugin.cli.extract_masks import main

if __name__ == '__main__':
    raise SystemExit(main())
