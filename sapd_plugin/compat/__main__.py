"""Turn the alias of sapd_plugin.compat on or off for every Python process of the active environment.

Run `sapd compat enable|disable|status`, or `python -m sapd_plugin.compat` if the command is not installed.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
from pathlib import Path

# Python runs this line of a .pth file at every start. The file's name sorts after those of editable installs, which
# make the package importable. If the package has been uninstalled, the line does nothing.
LINE = (
    'import sys; exec("try:\\n    from sapd_plugin.compat import alias_functional_tensor\\n'
    'except ImportError:\\n    pass\\nelse:\\n    alias_functional_tensor()")\n'
)
MEANING = 'torchvision.transforms.functional_tensor, which BasicSR 1.4.2 imports,'


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status: 2 if the environment cannot be written to, else 0."""
    parser = argparse.ArgumentParser(prog='sapd compat', description=__doc__.splitlines()[0])
    parser.add_argument('action', choices=['enable', 'disable', 'status'])
    action = parser.parse_args(arguments).action

    file = Path(sysconfig.get_path('purelib'), 'sapd_plugin_compat.pth')
    try:
        if action == 'enable':
            file.write_text(LINE, encoding='utf-8')
            print(f'Wrote {file}')
            print(f'{MEANING} now resolves in every Python process of this environment.')
            print('To undo this: sapd compat disable')
        elif action == 'disable' and file.exists():
            file.unlink()
            print(f'Removed {file}')
            print(f'{MEANING} again depends on the installed torchvision alone.')
        else:
            print(f'Enabled by {file}' if file.exists() else f'Not enabled: there is no {file}')
    except OSError as error:
        print(f'error: cannot {action}: {error}. Is this your own environment?', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
