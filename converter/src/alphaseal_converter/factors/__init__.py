"""Code of factors: running it, what it needs, whether it looks ahead, and the tables that it left.

All code runs in `isolation`; what it answers is data that this wing judges.
`expressions` is the language of compiled factors, `recording` and `trace` the stand-in for pandas that finds it, `tracing` runs
that isolated.  Expressions of qlib are `alphas`'.
"""
