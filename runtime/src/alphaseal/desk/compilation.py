"""What a manifest says of compiled factors, in words."""

from __future__ import annotations

from alphaseal.format.factors import CompiledFactor, FactorProof, NotCompiledFactor

COMPILED = "compiled"


def outcome(compilation: CompiledFactor | NotCompiledFactor) -> str:
    """Compiled, or why not."""
    return COMPILED if isinstance(compilation, CompiledFactor) else f"not compiled: {reason(compilation)}"


def reason(compilation: NotCompiledFactor) -> str:
    """The code, the line of the source, the construct, and why."""
    line = "" if compilation.line is None else f", line {compilation.line}"
    return f"{compilation.code}{line}, {compilation.construct}: {compilation.why}"


def proven(proof: FactorProof) -> str:
    """How near the graphs come to the recorded column, in a sentence."""
    share = proof.same_bits / proof.cells if proof.cells else 0.0
    if proof.same_bits < proof.cells:
        share = min(share, 0.999)  # nearly all is not all
    parts = [
        f"{proof.cells - proof.noise:,} of {proof.cells:,} cells within {proof.bound:g}, {proof.dates:,} dates, "
        f"{proof.instruments:,} stocks, NaN equal, {share:.1%} same bits, worst {proof.largest:.2g}"
    ]
    if proof.noise:
        parts.append(f"rounding noise of pandas' own running sums: {proof.noise:,}")
    if proof.unknown:
        parts.append(f"without a value for want of earlier days: {proof.unknown:,}")
    if proof.changed is not None:
        parts.append(f"on changed bars as pandas computes them: {proof.changed:,}")
    return "; ".join(parts)
