"""The float32 logarithm to the last bit of numpy's.

numpy computes it by a quotient of two polynomials that is wrong by up to 4 units in the last place, and a correlation of
logarithms that hardly differ shows them: exact logarithms would miss qlib's `CORR5` by 2e-5.  The steps are those of
`simd_log_FLOAT` (numpy/_core/src/umath/loops_exponent_log.dispatch.c.src), the same for AVX2 and AVX-512; each of its
fused operations is one product and one sum in double, rounded to float32.  Without these instructions numpy calls the C
library, whose last bit differs.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from alphaseal_converter.alphas.emit import Tensors
from alphaseal_converter.alphas.nodes import Dtype

_NUMERATOR: Final = (
    *(0.0, 9.999999999999998702752e-01, 2.112677543073053063722e00),
    *(1.480000633576506585156e00, 3.808837741388407920751e-01, 2.589979117907922693523e-02),
)
_DENOMINATOR: Final = (
    *(1.0, 2.612677543073109236779e00, 2.453006071784736363091e00),
    *(9.864942958519418960339e-01, 1.546476374983906719538e-01, 5.875095403124574342950e-03),
)
_HALF_ROOT: Final = float(np.float32(math.sqrt(0.5)))
_LOG_2: Final = float(np.float32(math.log(2.0)))
_LEAST_EXPONENT: Final = -150
_EXPONENTS: Final = 280
"""float32 has exponents from -149 to 128 in this counting; one more on each side for the estimate."""


def log32(emitter: Tensors, value: str) -> str:
    """float, of a float tensor: minus infinity at 0, NaN below."""
    add, double = emitter.add, emitter.double
    wide = emitter.cast(value, Dtype.FLOAT32, Dtype.FLOAT64)
    regular = add("And", add("Greater", wide, double(0.0)), add("Less", wide, double(np.inf)))
    exact = add("Log", wide)
    exponent, mantissa = _split(
        emitter, add("Where", regular, wide, double(1.0)), add("Where", regular, exact, double(0.0))
    )
    behind = add("Sub", mantissa, double(1.0))
    quotient = add("Div", _polynomial(emitter, behind, _NUMERATOR), _polynomial(emitter, behind, _DENOMINATOR))
    result = add("Add", add("Mul", exponent, double(_LOG_2)), _rounded(emitter, quotient))
    return emitter.cast(add("Where", regular, result, exact), Dtype.FLOAT64, Dtype.FLOAT32)


def _split(emitter: Tensors, value: str, logarithm: str) -> tuple[str, str]:
    """`value` = mantissa * 2^exponent with a mantissa above the root of one half and at most its double."""
    add, double = emitter.add, emitter.double
    exponent = add("Floor", add("Add", add("Mul", logarithm, double(1 / math.log(2.0))), double(0.5)))
    place = emitter.cast(add("Sub", exponent, double(float(_LEAST_EXPONENT))), Dtype.FLOAT64, Dtype.INT64)
    powers = np.ldexp(1.0, -(np.arange(_EXPONENTS) + _LEAST_EXPONENT))
    mantissa = add("Mul", value, add("Gather", emitter.constant(powers), place, axis=0))
    # The estimate may be one off beside the borders.
    small = add("LessOrEqual", mantissa, double(_HALF_ROOT))
    large = add("Greater", mantissa, double(2 * _HALF_ROOT))
    factor = add("Where", small, double(2.0), add("Where", large, double(0.5), double(1.0)))
    step = add("Where", small, double(-1.0), add("Where", large, double(1.0), double(0.0)))
    return add("Add", exponent, step), add("Mul", mantissa, factor)


def _polynomial(emitter: Tensors, value: str, coefficients: tuple[float, ...]) -> str:
    """By Horner's rule, rounded to float32 after each step."""
    *lower, result_number = (float(np.float32(coefficient)) for coefficient in coefficients)
    result = emitter.double(result_number)
    for coefficient in reversed(lower):
        product = emitter.add("Mul", result, value)
        result = _rounded(emitter, emitter.add("Add", product, emitter.double(coefficient)))
    return result


def _rounded(emitter: Tensors, value: str) -> str:
    return emitter.cast(emitter.cast(value, Dtype.FLOAT64, Dtype.FLOAT32), Dtype.FLOAT32, Dtype.FLOAT64)
