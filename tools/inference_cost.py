"""Entry point of ``sapd inference-cost``."""

from sapd_plugin.cli.inference_cost import main

if __name__ == '__main__':
    raise SystemExit(main())
