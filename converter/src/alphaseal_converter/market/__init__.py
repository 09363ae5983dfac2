"""qlib's market data read without qlib, and the bars of one run.

Calendars, instruments, binary fields, through the provider's directory.
Expressions over bars are `alphas`'.
"""
