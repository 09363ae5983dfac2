"""From rows of features to scores: sessions of onnxruntime, the stages in their order, ranks, and the golden self-test.

It takes verified bytes and blocks of rows.
Files, trust and tables of callers stay outside; bars are `bars`'.
"""

__all__ = ["golden", "near_ties", "numeric", "pipeline", "session"]
