"""What a traced program's objects are made of: the record of this process, typed values, rows, orders, index levels, operands.

`trace` builds pandas' classes on it.  It runs in isolation only; the standard library, numpy and `factors.expressions` are all
that may be imported.
"""
