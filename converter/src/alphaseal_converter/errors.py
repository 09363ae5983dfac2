"""The converter's own error: a refusal."""

from __future__ import annotations

from alphaseal.errors import AlphasealError


class RefusalError(AlphasealError):
    """The converter will not go on: session, workspace, order, parity or data do not allow a proven bundle.

    Nothing has been written when this is raised.
    """

    exit = 20
