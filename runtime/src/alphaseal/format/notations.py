"""How instruments are written: the kinds of a manifest's `instrument_format`, and those that can be turned into each other.

Plain text only, so that a command's help can name them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CodeForm:
    """A way to write an exchange and a number: `parts` has a group of each, at the places `exchange` and `number`."""

    parts: str
    exchange: int
    number: int
    template: str

    @property
    def example(self) -> str:
        """A stock's code."""
        return self.written("SH", "600000")

    def written(self, exchange: str, number: str) -> str:
        """The code of a stock."""
        return self.template.format(exchange=exchange, number=number)

    def rewrite(self, target: CodeForm) -> str:
        """RE2 and `re` replacement that turns a match of `parts` into the form `target`."""
        return target.written(rf"\{self.exchange}", rf"\{self.number}")


FORMS = {
    "qlib": CodeForm(r"^(SH|SZ|BJ)([0-9]{6})$", exchange=1, number=2, template="{exchange}{number}"),
    "ts": CodeForm(r"^([0-9]{6})\.(SH|SZ|BJ)$", exchange=2, number=1, template="{number}.{exchange}"),
}
"""Forms that can be turned into each other."""
INSTRUMENT_PATTERNS = {
    "qlib": r"^(SH|SZ|BJ)[0-9]{6}$",
    "ts": r"^[0-9]{6}\.(SH|SZ|BJ)$",
    "other": r"^[A-Za-z0-9_.^-]{1,32}$",
}
"""Kinds of the manifest, each with the pattern that it writes."""
