"""What ``predict`` of each supported class reads from a saved object, recorded with the real library.

A program of its own (``python tools/ledger_probe LIBRARY OUT``) with numpy, pandas and the library alone beside it, so
that it runs on old Pythons (3.8 and later) with old libraries.  It decides nothing: ``tools/ledger.py`` holds what it
found against the ledger and the converter.
"""
