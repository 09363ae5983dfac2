"""The proof of a conversion: what was asked for, what is proven, and whether the bundle may trade.

It brings model, graph and evidence together; a difference is a refusal.
Nothing is written here: that is `bundle`'s.
"""
