"""alphaseal: verify a bundle, score stocks with it, take the best.

bundle = alphaseal.open("bundle/", trust=alphaseal.Trust.unsigned())
scores = bundle.score(table, date="2024-09-02")
picks = scores.top(50)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alphaseal.errors import AlphasealError
from alphaseal.version import __version__

if TYPE_CHECKING:
    from alphaseal.bundle import Bundle
    from alphaseal.bundle import open_bundle as open  # noqa: A004  (alphaseal.open reads as it should)
    from alphaseal.format.manifest import Manifest
    from alphaseal.sealed import Verified
    from alphaseal.trust.judgement import Trust

__all__ = ["AlphasealError", "Bundle", "Manifest", "Trust", "Verified", "__version__", "open"]
_PLACES = {
    "Bundle": ("bundle", "Bundle"),
    "Manifest": ("format.manifest", "Manifest"),
    "Trust": ("trust.judgement", "Trust"),
    "Verified": ("sealed", "Verified"),
    "open": ("bundle", "open_bundle"),
}


def __getattr__(name: str) -> Any:
    """Names are loaded when they are asked for, so that ``alphaseal doctor`` runs where a library does not load."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _PLACES[name]
    value = globals()[name] = getattr(import_module(f".{module}", __name__), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
