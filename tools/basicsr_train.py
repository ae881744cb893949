"""Entry point of ``python -m sapd_plugin.basicsr.train``."""

from sapd_plugin.basicsr.train import main

if __name__ == '__main__':
    main()
