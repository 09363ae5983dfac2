"""ONNX nodes that every graph is made of: the builder, a quantile function, embedding of foreign graphs.

ONNX objects are made in `builder` and nowhere else.
Models and processors are not known here.
"""
