"""Entry point of ``sapd evaluate-teacher``."""

from sapd_plugin.cli.evaluate_teacher import main

if __name__ == '__main__':
    raise SystemExit(main())
