"""The command ``alphaseal-convert``: its verbs, their options, and what they print.

A verb reads its options and calls one function of another wing.
No rule of a conversion lives here.
"""

from alphaseal_converter.cli.command import main

__all__ = ["main"]
