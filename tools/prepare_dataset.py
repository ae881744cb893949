"""Entry point of ``sapd prepare-dataset``."""

from sapd_plugin.cli.prepare_dataset import main

if __name__ == '__main__':
    raise SystemExit(main())
