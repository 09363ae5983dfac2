"""How much memory a program has taken at most, told by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

PEAK = '''
def peak():
    """Bytes.  Not getrusage: there a process begins with the peak of the one that started it."""
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

'''
"""Source that defines `peak()`, for the beginning of a program."""

needs_peak = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's peak of resident memory")
