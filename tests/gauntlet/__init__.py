"""Live tables, right ones and wrong ones, against real bundles: what is wrong must be refused, what is right must score.

`worlds` are bundles with the bars and features of a market as they truly are; `harmful` and `harmless` change such a table
as users, vendors and programs do; `judge` says what became of it.  ``tools/run_gauntlet.py`` runs thousands of them.
"""
