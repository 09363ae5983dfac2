"""Arrow's columns as numpy arrays and back, without pandas and without believing what a library says of them.

Dates, instruments, numbers, the order of rows, and the types that are taken for numbers.
What a table is for (features, bars) is not known here: that is `tables` and `bars`.
"""

__all__ = ["columns", "number_types"]
