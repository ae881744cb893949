"""One network and one inference in a process of its own; `evaluation.cost` starts it and reads what it writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.evaluation.memory import forget_peak, resident


def main(network_file: str, result: str) -> None:
    """Load the network, run it once, and write the bytes by which memory rose at its peak.

    What an earlier step took for a while, as importing the network's class, is forgotten before. Where the system does
    not allow that, it counts where it was more.
    """
    alias_functional_tensor()
    # Our own file, written by the process that started this one.
    network, shape = torch.load(network_file, weights_only=False)
    network.eval()
    image = torch.rand(shape)
    forget_peak()
    before = resident('VmRSS')
    with torch.no_grad():
        network(image)
    Path(result).write_text(json.dumps(resident('VmHWM') - before), encoding='utf-8')


if __name__ == '__main__':
    main(*sys.argv[1:])
