"""What both commands share: a parser, running a verb, one JSON object or one line of error, progress.

It is the only place that prints.
No verb and no meaning of a bundle is known here.
"""

__all__ = ["console"]
