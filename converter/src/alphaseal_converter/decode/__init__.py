"""Values out of inert records: numbers, dates, arrays, indexes, frames, tensors.

Only what `pickles` read comes in; nothing is looked up, called or imported by name.
What a value means (a history, a model, a processor) is decided elsewhere.
"""
