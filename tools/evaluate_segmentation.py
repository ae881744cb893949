"""Entry point of ``sapd evaluate-segmentation``."""

from sapd_plugin.cli.evaluate_segmentation import main

if __name__ == '__main__':
    raise SystemExit(main())
