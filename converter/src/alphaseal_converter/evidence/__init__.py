"""What a run recorded and what it shows: order of columns, raw values, golden rows, alphas on recorded days, training rows, units.

Parts come from `locate` and `market`, numbers from graphs.
Whether the bundle may be made of it is decided in `proof`.
"""
