"""Compiled factors: from bars and side tables to factor values, by the bundle's graphs and stages across stocks.

Comes in: verified graphs, their description in the manifest, bars on one calendar, side tables on the same days.  Goes out:
one column per factor, and which values depend on days that are not there.  What stays out: code of factors, which the bundle
carries as text alone, and every decision about which stock is scored.
"""

__all__ = ["daily", "selftest"]
