"""Instrument codes: check them against a bundle's pattern, convert between the two notations of Chinese exchanges.

`SH600000` is qlib's notation, `600000.SH` that of tushare and most vendors.  Everything is matched by Arrow's regular
expressions (RE2): linear time whatever pattern a bundle brings, and a match is of the whole value.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from alphaseal.errors import InputError, MalformedError, UsageError
from alphaseal.format.notations import FORMS, INSTRUMENT_PATTERNS, CodeForm
from alphaseal.tables.request import Notation

_SHOWN = 3


_SAMPLES = (("SH", "600000"), ("SZ", "000001"), ("BJ", "830799"))


def convert(values: Any, source: str, target: str) -> Any:
    """`values` (Arrow string array without nulls) in the notation `target`; both are "qlib" or "ts".

    Raises InputError `instrument.pattern` where a value is not of the notation `source`, UsageError
    `usage.instrument_format` for an unknown notation.
    """
    given, wanted = _form(source), _form(target)
    _require(values, given.parts, f"instruments in the {source} notation, such as {given.example}")
    if source == target:
        return values
    return pc.replace_substring_regex(values, pattern=given.parts, replacement=given.rewrite(wanted))


def rewriting(notation: Notation) -> tuple[str, str, str] | None:
    """Patterns of the bundle's notation and of the table's, and the replacement that turns the table's codes into the bundle's.

    They say the same to Arrow and to Python's `re`, as patterns of whole values; None where the table's are the bundle's.
    UsageError `usage.instrument_format`.
    """
    if notation.source is None:
        return None
    own = _target(notation)
    given, target = _form(notation.source), _form(own)
    return target.parts, given.parts, given.rewrite(target) if notation.source != own else r"\g<0>"


def normalise(values: Any, notation: Notation) -> Any:
    """`values` (Arrow string array without nulls) as the bundle names instruments.

    Raises InputError `instrument.pattern` (values that do not match, the first ones shown),
    UsageError `usage.instrument_format` where the notations are unknown, MalformedError `instrument.bad_pattern`.
    """
    if len(values) == 0:
        return values
    pattern = notation.pattern
    if pattern is None and notation.kind is not None:
        if notation.kind not in INSTRUMENT_PATTERNS:
            raise _unknown(notation.kind)
        pattern = INSTRUMENT_PATTERNS[notation.kind]
    if notation.source is not None:
        values = convert(values, notation.source, _target(notation))
    if pattern is not None:
        _require(values, pattern, f"instruments that match {pattern}")
    return values


def _target(notation: Notation) -> str:
    return notation.kind if notation.kind is not None else _notation_of(notation.pattern)


def _form(name: str) -> CodeForm:
    if name not in FORMS:
        raise _unknown(name)
    return FORMS[name]


def _unknown(name: str) -> UsageError:
    return UsageError(
        "usage.instrument_format", "instruments cannot be converted", expected=" or ".join(FORMS), found=repr(name)
    )


def _notation_of(pattern: str | None) -> str:
    """The one notation that `pattern` accepts for at least one exchange."""
    if pattern is not None:
        samples = {
            name: pa.array([form.written(*sample) for sample in _SAMPLES], pa.string()) for name, form in FORMS.items()
        }
        accepted = [name for name, codes in samples.items() if pc.any(_matches(codes, pattern)).as_py()]
        if len(accepted) == 1:
            return accepted[0]
    raise UsageError(
        "usage.instrument_format",
        "instruments cannot be converted: the bundle's own format is not known",
        expected="a bundle whose instrument pattern is that of "
        + " or of ".join(form.example for form in FORMS.values()),
        found=repr(pattern),
        next_step="convert the instruments of the table yourself and leave out the source format",
    )


def _matches(values: Any, pattern: str) -> Any:
    try:
        return pc.match_substring_regex(values, pattern=rf"\A(?:{pattern})\z")
    except pa.ArrowInvalid as error:
        raise MalformedError(
            "instrument.bad_pattern",
            "the instrument pattern is not a regular expression",
            found=f"{pattern!r}: {error}",
        ) from error


def _require(values: Any, pattern: str, expected: str) -> None:
    misses = values.filter(pc.invert(_matches(values, pattern)))
    if len(misses):
        raise InputError(
            "instrument.pattern",
            f"{len(misses)} instrument codes do not have the expected form",
            where="column 'instrument'",
            expected=expected,
            found=_examples(misses),
            next_step=f"say which notation the table has (--instruments-from {'|'.join(FORMS)}), or correct the codes",
        )


def _examples(values: Any) -> str:
    shown = ", ".join(repr(value) for value in values.slice(0, _SHOWN).to_pylist())
    return shown + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")
