"""alphaseal-converter: read an RD-Agent task safely, prove its model in ONNX, write a bundle."""

from __future__ import annotations

from alphaseal_converter.version import __version__

__all__ = ["__version__"]
