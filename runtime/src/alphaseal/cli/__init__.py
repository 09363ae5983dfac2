"""The command ``alphaseal``: a table of verbs, their options, and what they print.

A verb reads its options and calls one function of another wing; verbs of reviewers are in `desk`.
No rule of verifying or scoring lives here.
"""

from alphaseal.cli.command import main

__all__ = ["main", "options"]
