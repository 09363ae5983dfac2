"""alphaseal: verify a bundle, score stocks with it, take the best.

bundle = alphaseal.open("bundle/", trust=alphaseal.Trust.unsigned())
scores = bundle.score(table, date="2024-09-02")
picks = scores.top(50)
"""

from __future__ import annotations

from .bundle import Bundle, Verified
from .bundle import open_bundle as open  # noqa: A004  (alphaseal.open reads as it should)
from .errors import AlphasealError
from .manifest import Manifest
from .trust import Trust
from .version import __version__

__all__ = ["AlphasealError", "Bundle", "Manifest", "Trust", "Verified", "__version__", "open"]
