"""What a call refuses, for a look at its code and words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from alphaseal.errors import AlphasealError

Error = TypeVar("Error", bound=AlphasealError)


def refusal(kind: type[Error], call: Callable[..., object], *arguments: Any, **options: Any) -> Error:
    """The error of that kind with which the call ends."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    return caught.value


def code_of(kind: type[AlphasealError], call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    """Its code."""
    return refusal(kind, call, *arguments, **options).code
