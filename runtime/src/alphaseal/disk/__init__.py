"""The files of a bundle on disk: which there are, and their bytes, verified before anyone has them.

Bounded reads, digests, and writing so that a reader sees the old content or the new.
No meaning of a file is known here: JSON is `format`'s, signatures are `trust`'s, parquet and ONNX are `gate`'s.
"""

__all__ = ["files", "targets", "tree"]
