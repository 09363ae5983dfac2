"""What is said of a day beside its scores: drift, values that were filled, and what to hold, sell and buy.

It knows tables and the manifest's numbers.
It never changes a score, and prints nothing: words for people are `cli.advice`'s.
"""

__all__ = ["strategy"]
