"""Entry point of ``python -m sapd_plugin.mmagic.test``."""

from sapd_plugin.mmagic.test import main

if __name__ == '__main__':
    main()
