"""Test with MMagic's own test tool, plugin loaded.

python tools/mmagic_test.py CONFIG CHECKPOINT [--out FILE] [--work-dir DIR] [--cfg-options k=v ...]
"""

from sapd_plugin.mmagic.tools import run_stock_tool

if __name__ == '__main__':
    run_stock_tool('test')
