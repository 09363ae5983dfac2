"""From a task directory to its history and to the anchor: which experiment the bundle is of.

It reads session files through `pickles` and types them.
Workspaces, runs and weights are `locate`'s.
"""
