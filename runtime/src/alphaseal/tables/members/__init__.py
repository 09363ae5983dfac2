"""Who of a table is a stock of the model on each date: universes, boards and the members that a manifest records.

It marks and leaves out rows, each with a reason of `format.reasons`.
Scores are not known here.
"""

__all__ = ["boards", "membership", "universe"]
