"""What a factor computes, as data: nodes over a grid of days and stocks, their document, their values in numpy.

Nothing here knows pandas.  `nodes` is the language, `document` its strict reader and writer, `evaluate` the converter's own
judge of it, `properties` what follows from it (look-back, inputs, stages across stocks), `words` its readable form.
The isolated tracer has a copy of `nodes` and `document`: those two need the standard library only.
"""
