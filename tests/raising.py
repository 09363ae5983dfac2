"""What a call refuses, for a look at its code and words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from alphaseal.errors import AlphasealError

Error = TypeVar("Error", bound=AlphasealError)


def refusal(kind: type[Error], call: Callable[..., object], *arguments: Any, **options: Any) -> Error:
    """The error of that kind with which the call ends; what is printed of it is one line."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def code_of(call: Callable[..., object], kind: type[AlphasealError]) -> str:
    """The code of the error of exactly this kind with which the call ends."""
    error = refusal(kind, call)
    assert type(error) is kind
    return error.code
