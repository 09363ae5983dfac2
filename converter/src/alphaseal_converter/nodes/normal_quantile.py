"""The quantile function of the normal distribution as ONNX nodes, after Cephes' rational approximations (ndtri).

scipy's ``norm.ppf`` is the same function; S. L. Moshier, Cephes Math Library 2.8, gives method and coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alphaseal_converter.nodes.builder import GraphBuilder

_ROOT_OF_TWO_PI = 2.50662827463100050242
_TAIL = 0.13533528323661269189
"""exp(-2): below it, and as far from 1, the approximation for tails is used."""
# Coefficients from the highest power down; the denominators' first one is 1.
_CENTRE_ABOVE = (
    -59.9633501014107895267,
    98.0010754185999661536,
    -56.6762857469070293439,
    13.9312609387279679503,
    -1.23916583867381258016,
)
_CENTRE_BELOW = (
    *(1.0, 1.95448858338141759834, 4.67627912898881538453, 86.3602421390890590575, -225.462687854119370527),
    *(200.260212380060660359, -82.0372256168333339912, 15.9056225126211695515, -1.18331621121330003142),
)
_TAIL_ABOVE = (
    *(4.05544892305962419923, 31.5251094599893866154, 57.1628192246421288162, 44.0805073893200834700),
    *(14.6849561928858024014, 2.18663306850790267539, -0.140256079171354495875, -0.0350424626827848203418),
    -8.57456785154685413611e-4,
)
_TAIL_BELOW = (
    *(1.0, 15.7799883256466749731, 45.3907635128879210584, 41.3172038254672030440, 15.0425385692907503408),
    *(2.50464946208309415979, -0.142182922854787788574, -0.0380806407691578277194, -9.33259480895457427372e-4),
)
_LANES = 8
"""Doubles in the widest vector register, AVX-512."""


def add_normal_quantile(builder: GraphBuilder, probability: str, columns: int, lowest: float) -> str:
    """[rows, columns] -> the same shape; probabilities are cut to ``lowest .. 1 - lowest`` first, NaN passes.

    `lowest` is above exp(-32), so that one approximation serves both tails.
    """
    low, high = builder.scalar(lowest), builder.scalar(1.0 - lowest)
    y = builder.add("Where", builder.add("Greater", probability, high), high, probability)
    y = builder.add("Where", builder.add("Less", y, low), low, y)
    one = builder.scalar(1.0)
    mirrored = builder.add("Greater", y, builder.scalar(1.0 - _TAIL))
    y = builder.add("Where", mirrored, builder.add("Sub", one, y), y)
    centre = _add_centre(builder, y)
    tail = _add_tail(builder, y, columns)
    # The tail's value is positive; it belongs to the lower end unless the probability was mirrored.
    tail = builder.add("Where", mirrored, tail, builder.add("Neg", tail))
    return builder.add("Where", builder.add("Greater", y, builder.scalar(_TAIL)), centre, tail)


def _add_centre(builder: GraphBuilder, y: str) -> str:
    y = builder.add("Sub", y, builder.scalar(0.5))
    square = builder.add("Mul", y, y)
    above = builder.add("Mul", square, _add_polynomial(builder, square, _CENTRE_ABOVE))
    ratio = builder.add("Div", above, _add_polynomial(builder, square, _CENTRE_BELOW))
    x = builder.add("Add", y, builder.add("Mul", y, ratio))
    return builder.add("Mul", x, builder.scalar(_ROOT_OF_TWO_PI))


def _add_tail(builder: GraphBuilder, y: str, columns: int) -> str:
    x = builder.add("Sqrt", builder.add("Mul", builder.scalar(-2.0), add_steady(builder, "Log", y, columns)))
    first = builder.add("Sub", x, builder.add("Div", add_steady(builder, "Log", x, columns), x))
    z = builder.add("Div", builder.scalar(1.0), x)
    above = builder.add("Mul", z, _add_polynomial(builder, z, _TAIL_ABOVE))
    return builder.add("Sub", first, builder.add("Div", above, _add_polynomial(builder, z, _TAIL_BELOW)))


def _add_polynomial(builder: GraphBuilder, x: str, coefficients: Sequence[float]) -> str:
    """Horner's scheme, from the highest power down."""
    first, second, *rest = coefficients
    leading = x if first == 1.0 else builder.add("Mul", x, builder.scalar(first))
    result = builder.add("Add", leading, builder.scalar(second))
    for coefficient in rest:
        result = builder.add("Add", builder.add("Mul", result, x), builder.scalar(coefficient))
    return result


def add_steady(builder: GraphBuilder, operator: str, values: str, columns: int = 1) -> str:
    """An elementwise function of [rows, columns] whose bits do not depend on the batch.

    onnxruntime computes full vector registers with one algorithm and the rest with another, an ulp apart: rows are
    widened with ones until each fills whole registers.
    """
    spare = -columns % _LANES
    if not spare:
        return builder.add(operator, values)
    widened = builder.add("Pad", values, builder.constant([0, 0, 0, spare]), builder.scalar(1.0))
    computed = builder.add(operator, widened)
    return builder.add("Gather", computed, builder.constant(np.arange(columns)), axis=1)
