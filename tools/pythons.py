"""Where this machine has a Python of a minor version: on the path, or among pyenv's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def find(version: str) -> Path | None:
    """The interpreter of ``3.12``, or None.  Each candidate is asked: pyenv's stand-ins exist for versions that are not chosen."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    program = "import sys; print(sys.executable, *sys.version_info[:2], sep='\\n')"
    for candidate in (
        sys.executable,
        f"python{version}",
        *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python"))),
    ):
        try:
            asked = subprocess.run([candidate, "-c", program], capture_output=True, text=True, check=False)
        except OSError:
            continue
        place, *found = asked.stdout.split("\n")[:3] or [""]
        if asked.returncode == 0 and ".".join(found) == version:
            return Path(place)
    return None
