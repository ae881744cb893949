"""MMagic's own command-line tools, which its wheel ships."""

from __future__ import annotations

import runpy
from pathlib import Path

import mmagic

from sapd_plugin.errors import SAPDError


def run_stock_tool(name: str) -> None:
    """Run MMagic's ``train`` or ``test`` tool in this process, with this process's command line.

    Raises:
        SAPDError: the installed MMagic has no tools, like a source install without package data.
    """
    package = Path(mmagic.__file__).parent
    # In the wheel; in an editable install.
    places = [package / '.mim/tools' / f'{name}.py', package.parent / 'tools' / f'{name}.py']
    script = next((place for place in places if place.is_file()), None)
    if script is None:
        raise SAPDError(f'MMagic: found no {name} tool at {" or ".join(map(str, places))}. Run the one in your clone.')
    runpy.run_path(str(script), run_name='__main__')
