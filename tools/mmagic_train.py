"""Entry point of ``python -m sapd_plugin.mmagic.train``."""

from sapd_plugin.mmagic.train import main

if __name__ == '__main__':
    main()
