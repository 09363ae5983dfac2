"""scikit-learn: fitted estimators, from inert records, as chains of typed steps, and how far two computations of a row may lie apart.

Records come in; a chain of steps whose every number is plain goes out.
Graphs of the steps are made in `graph`, the live objects that judge them in `families`.
"""
