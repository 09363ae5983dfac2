"""Documents: JSON of one kind, read in one order that no kind leaves.

What a document says that it is comes first, before anything else of it is judged; then its schema; then its byte form,
where there is only one.  What its fields mean together is for the module of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from alphaseal.errors import MalformedError
from alphaseal.format import strict_json

D = TypeVar("D", bound=msgspec.Struct)


@dataclass(frozen=True)
class Rule:
    """What is said where a document breaks a rule."""

    code: str
    message: str
    expected: str | None = None
    next_step: str | None = None

    def broken(self, where: str, found: str | None = None) -> MalformedError:
        """The error to raise."""
        return MalformedError(
            self.code, self.message, where=where, expected=self.expected, found=found, next_step=self.next_step
        )


@dataclass(frozen=True)
class Kind(Generic[D]):
    """One kind of document.

    `schema` is the code of whatever does not fit `type`.  `field` says what the document is, one of `known`, or breaks
    `version`; without `version` nothing is asked of it.  `form` is broken by any other bytes than those of `plain`; without
    `form` a document may be written in any.
    """

    schema: str
    type: type[D]
    maximum_bytes: int
    version: Rule | None = None
    known: Sequence[str] = ()
    field: str = "format"
    form: Rule | None = None
    plain: Callable[[D], Any] = msgspec.to_builtins

    def read(self, data: bytes, where: str) -> D:
        """MalformedError ``json.*`` and the codes of this kind."""
        value = self.value(data, where)
        document = self.typed(value, where)
        if self.form is not None and strict_json.dumps(own := self.plain(document)) != data:
            self._check_fields(value, own, where, "$")
            raise self.form.broken(where)
        return document

    def value(self, data: bytes, where: str) -> Any:
        """The JSON value of a document that is of this kind by its own word, and not judged further."""
        value = strict_json.loads(data, where=where, maximum_bytes=self.maximum_bytes)
        found = value.get(self.field) if isinstance(value, dict) else None
        if self.version is not None and found not in self.known:
            raise self.version.broken(where, repr(found)[:120])
        return value

    def typed(self, value: Any, where: str) -> D:
        """Plain JSON values as the typed form; the refusal names the JSON path."""
        try:
            return msgspec.convert(value, self.type)
        except msgspec.ValidationError as error:
            raise self._misfit(error, where) from None

    def _misfit(self, problem: object, where: str) -> MalformedError:
        return Rule(self.schema, f"does not fit the schema: {problem}").broken(where)

    def _check_fields(self, found: Any, own: Any, where: str, path: str) -> None:
        """Refuse the first place where the fields are not those of the document's version."""
        if isinstance(found, dict):
            for name in sorted(found.keys() | own.keys()):
                if name not in found or name not in own:
                    problem = "missing required" if name in own else "unknown"
                    raise self._misfit(f"{problem} field `{name}` - at `{path}`", where)
                self._check_fields(found[name], own[name], where, f"{path}.{name}")
        elif isinstance(found, list):
            for place, (item, own_item) in enumerate(zip(found, own, strict=True)):
                self._check_fields(item, own_item, where, f"{path}[{place}]")
