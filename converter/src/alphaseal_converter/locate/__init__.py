"""Where a run's parts are: workspaces, recorders, artefacts, weights, the configuration it trained from.

Every file is a plain file below a root that was named, read inertly.
What the parts mean for a model is `families`' and `evidence`'s.
"""
