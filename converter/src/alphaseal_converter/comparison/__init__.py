"""Comparing numbers with their judge: rows that would show a difference, bounds, reach of noise, names as evidence.

Arrays and names come in, verdicts go out.
It knows no file, no family and no graph.
"""
