"""qlib's alpha expressions to ONNX."""

from __future__ import annotations

from alphaseal_converter.alphas.compile import CompiledAlphas, compile_alphas

__all__ = ["CompiledAlphas", "compile_alphas"]
