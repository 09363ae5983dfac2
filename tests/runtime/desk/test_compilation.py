"""Compiled factors in words: for `show`, `diff` and the card."""

from __future__ import annotations

import msgspec

from alphaseal.desk.compilation import outcome, proven
from alphaseal.desk.show import describe
from alphaseal.format import manifest as m
from alphaseal.format.factors import CompiledFactor, NotCompiledFactor
from manifests import compiled_manifest, example_manifest

REFUSED = NotCompiledFactor(code="looks_ahead", construct="Series.shift", line=7, why="it uses rows of later days")


def _compiled() -> CompiledFactor:
    found = compiled_manifest().features[1].compilation
    assert isinstance(found, CompiledFactor)
    return found


def _saying(compilation: CompiledFactor | NotCompiledFactor | None) -> m.Manifest:
    """The manifest with another outcome of its factor."""
    manifest = compiled_manifest()
    features = list(manifest.features)
    features[1] = msgspec.structs.replace(features[1], compilation=compilation)
    return msgspec.structs.replace(manifest, features=features)


def test_outcome_is_compiled_or_the_reason() -> None:
    """Code, line, construct and reason, the line only where there is one."""
    assert outcome(_compiled()) == "compiled"
    assert outcome(REFUSED) == "not compiled: looks_ahead, line 7, Series.shift: it uses rows of later days"
    whole = msgspec.structs.replace(REFUSED, line=None)
    assert outcome(whole) == "not compiled: looks_ahead, Series.shift: it uses rows of later days"


def test_proof_is_a_sentence() -> None:
    """Cells, dates, stocks, same bits and the worst difference; what was not compared like the others has its own part."""
    proof = _compiled().proof
    assert proven(proof) == (
        "2,850 of 2,852 cells within 1e-09, 46 dates, 62 stocks, NaN equal, 97.8% same bits, worst 3e-11; rounding noise of "
        "pandas' own running sums: 2; without a value for want of earlier days: 1; on changed bars as pandas computes them: 420"
    )
    clean = msgspec.structs.replace(proof, noise=0, unknown=0, changed=None, same_bits=2852, largest=0.0)
    assert proven(clean) == (
        "2,852 of 2,852 cells within 1e-09, 46 dates, 62 stocks, NaN equal, 100.0% same bits, worst 0"
    )


def test_nearly_all_bits_are_not_all() -> None:
    """One cell of a million with other bits is not rounded away; no cell at all is no division."""
    proof = _compiled().proof
    assert "99.9% same bits" in proven(msgspec.structs.replace(proof, cells=10**6, same_bits=10**6 - 1))
    assert "0 of 0 cells" in proven(msgspec.structs.replace(proof, cells=0, same_bits=0, noise=0))


def test_show_lists_each_factor() -> None:
    """Compiled ones with what they compute and their proof, the others with the reason; without any it says nothing."""
    text = describe(compiled_manifest(), "0" * 64)
    assert "compiled   1 SOTA features from close of 4 days, and from the side table: sector" in text
    assert "- REV_3D: in model, compiled\n" in text
    assert (
        "computes rank by day of -(close / close 3 rows before - 1) less its mean by day and sector (pandas 2)" in text
    )
    assert "proven: 2,850 of 2,852 cells within 1e-09" in text
    refused = describe(_saying(REFUSED), "0" * 64)
    assert (
        "- REV_3D: in model, not compiled: looks_ahead, line 7, Series.shift: it uses rows of later days\n" in refused
    )
    assert "compiled" not in describe(example_manifest(), "0" * 64)


def test_show_of_a_position_that_is_none() -> None:
    """A manifest may say of a factor any position: one beyond the features says nothing of its compilation."""
    manifest = compiled_manifest()
    factors = [msgspec.structs.replace(factor, position=10**6) for factor in manifest.sota_factors]
    text = describe(msgspec.structs.replace(manifest, sota_factors=factors), "0" * 64)
    assert "- REV_3D: in model\n" in text
