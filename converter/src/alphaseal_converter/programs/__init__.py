"""Programs that are run by path, by an isolated child or by the research environment's own Python.

They import nothing of this package but what they find beside them: `plain_table`, and for `trace` the stand-in for pandas.
Nobody imports them; what they answer is believed by nobody before it was compared.
"""
