"""Test with MMagic's own test tool, plugin loaded.

python -m sapd_plugin.mmagic.test CONFIG CHECKPOINT [--work-dir DIR] [--out FILE]
    [--launcher pytorch] [--cfg-options k=v ...]
"""

from __future__ import annotations

from sapd_plugin.mmagic.tools import run_stock_tool


def main() -> None:
    """Run the test tool with this process's command line."""
    run_stock_tool('test')


if __name__ == '__main__':
    main()
