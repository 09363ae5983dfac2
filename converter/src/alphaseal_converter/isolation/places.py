"""Where a Python's installation lies: imported for the running one, run as a program by any other.

Standard library only, Python 3.10 on.  As a program it writes a JSON list to standard output, and ends with whoever started it.
"""

from __future__ import annotations

import json
import os
import signal
import site
import sys
import sysconfig


def places() -> list[str]:
    """The interpreter's file, then the directories of its installation and packages, as it names them."""
    named = [sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix]
    named += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    # Besides, it may import from package directories that a .pth file of it names; the user's own are never among them.
    packages = [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    own = os.path.join(site.getuserbase(), "")
    return named + [path for path in packages if os.path.isdir(path) and not path.startswith(own)]


def main() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
    print(json.dumps(places()))


if __name__ == "__main__":
    main()
