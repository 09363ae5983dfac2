"""The bytes of an ONNX file: wire format, parts, shapes, costs, and rules of operators.

Standard library alone: `verify` loads no numpy.
Limits of a format belong to `gate.model`, which is the only caller.
"""

__all__ = ["operators"]
