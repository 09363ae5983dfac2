"""Tree ensembles of every library as ONNX nodes that reach the same leaf and add in the same order.

Typed models of `models` come in.
Weights files and pickles never do.
"""
