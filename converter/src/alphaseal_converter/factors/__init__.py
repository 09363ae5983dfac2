"""Code of factors: running it, what it needs, whether it looks ahead, and the tables that it left.

All code runs in `isolation`; what it answers is data that this wing judges.
Expressions of qlib are `alphas`'.
"""
