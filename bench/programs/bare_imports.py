"""The least that any process pays that scores an ONNX model on a parquet file."""

import numpy
import onnxruntime
import pyarrow.parquet

assert numpy
assert onnxruntime
assert pyarrow.parquet
