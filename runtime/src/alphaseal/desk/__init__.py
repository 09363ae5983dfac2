"""The desk of reviewers and operators: diff, export, show, doctor, the trust file's verbs, completion.

Each is loaded when its verb is called; verifying and scoring never load one.
Whatever a score depends on belongs elsewhere.
"""

__all__ = ["compilation", "completion", "doctor"]
