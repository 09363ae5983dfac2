"""From daily bars to the alpha features of a bundle, and whether the bars are those of the training.

Sources, calendar, units, adjustment, suspended days, jumps, and the golden bars' self-test.
A table of features that somebody else computed never comes through here.
"""

__all__ = ["adjustment", "calendar", "conventions", "jumps", "source", "trading_days", "units"]
