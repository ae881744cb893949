"""Entry point of ``python -m sapd_plugin.basicsr.test``."""

from sapd_plugin.basicsr.test import main

if __name__ == '__main__':
    main()
