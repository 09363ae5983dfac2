"""The format of a bundle: its manifest and the rules of its texts, as typed values.

Everything here is plain data and the standard library with msgspec; nothing touches a disk, a key or a table.
What belongs here is said in spec/bundle-v1.md and needs no other file; whoever reads bytes of a disk belongs in `disk`.
"""

__all__ = ["factors", "instants", "manifest", "names", "notations", "parts", "strict_json"]
