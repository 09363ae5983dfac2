"""TanhProcess: noise reduced by a hyperbolic tangent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto

from alphaseal.errors import UsageError
from alphaseal.format.parts import Dtype
from alphaseal_converter.comparison.parity import Matrix
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.processors.processor import Columns, RowProcessor


@dataclass(frozen=True)
class TanhProcess(RowProcessor):
    """``tanh(x - 1)`` in the dtype of each column, for all columns but those whose name contains LABEL.

    `dtypes` is the dtype of each feature, None for one that stays as it is; it is known where the whole pipeline is
    (`typed`), so a processor as it is read has none.
    """

    dtypes: tuple[Dtype | None, ...] | None = None

    @property
    def infinite(self) -> str | None:
        return None if self.dtypes is None or None in self.dtypes else "becomes -1 or 1"

    def typed(self, names: Sequence[str], columns: Columns) -> TanhProcess:
        changed = (None if "LABEL" in name else dtype for name, dtype in zip(names, columns, strict=True))
        return replace(self, dtypes=tuple(changed))

    def in_numpy(self, values: Matrix) -> Matrix:
        columns = list(values.T)
        for position, dtype in enumerate(self.dtypes or ()):
            if dtype is not None:
                columns[position] = np.tanh(columns[position].astype(dtype) - np.dtype(dtype).type(1)).astype(
                    np.float64
                )
        result: Matrix = np.array(columns).T
        return result

    def in_onnx(self, builder: GraphBuilder, features: str) -> str:
        """Of float32 columns the difference is rounded, and then the double tanh.

        numpy's own float32 tanh is up to two units in the last place away from that.
        """
        if self.dtypes is None:
            raise UsageError(
                "graph.tanh", "the columns' dtypes are not known", next_step="take the processor from stages_of"
            )
        one = np.array(1.0)
        result = features
        if "float64" in self.dtypes:
            double = builder.add("Tanh", builder.add("Sub", features, builder.constant(one)))
            result = self._choose(builder, "float64", double, result)
        if "float32" in self.dtypes:
            single = builder.cast(features, TensorProto.FLOAT)
            less = builder.add("Sub", single, builder.constant(one.astype(np.float32)))
            single = builder.cast(builder.add("Tanh", builder.cast(less, TensorProto.DOUBLE)), TensorProto.FLOAT)
            result = self._choose(builder, "float32", builder.cast(single, TensorProto.DOUBLE), result)
        return result

    def _choose(self, builder: GraphBuilder, dtype: Dtype, chosen: str, other: str) -> str:
        """`chosen` in the columns of one dtype, `other` elsewhere."""
        mask = np.array([known == dtype for known in self.dtypes or ()])
        return chosen if mask.all() else builder.add("Where", builder.constant(mask), chosen, other)
