"""Compiled factors: expressions of `factors.expressions` become graphs of bars, and stages across stocks between them.

Comes in: typed expressions.  Goes out: a program of ONNX graphs and declared stages, and which columns and days it reads.
What stays out: how an expression was found, running anything, and whether its values are true.  A graph looks at one stock;
what looks at all stocks of a day is a stage of the runtime.
"""
