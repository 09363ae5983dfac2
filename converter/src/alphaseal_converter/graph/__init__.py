"""Typed models and processors in, ONNX out."""
