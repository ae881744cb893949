"""Train with MMagic's own train tool, plugin loaded.

python -m sapd_plugin.mmagic.train CONFIG [--work-dir DIR] [--resume] [--amp]
    [--launcher pytorch] [--cfg-options k=v ...]
"""

from __future__ import annotations

from sapd_plugin.mmagic.tools import run_stock_tool


def main() -> None:
    """Run the train tool with this process's command line."""
    run_stock_tool('train')


if __name__ == '__main__':
    main()
