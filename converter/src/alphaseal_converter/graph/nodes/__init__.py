"""ONNX nodes that every graph is made of: the builder, row processors, embedding of foreign graphs.

ONNX objects are made in `builder` and nowhere else.
Models are not known here.
"""
