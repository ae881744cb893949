"""Train with MMagic's own train tool, plugin loaded.

python tools/mmagic_train.py CONFIG [--work-dir DIR] [--resume] [--amp] [--launcher pytorch] [--cfg-options k=v ...]
"""

from sapd_plugin.mmagic.tools import run_stock_tool

if __name__ == '__main__':
    run_stock_tool('train')
