"""Why a stock of a date has no score: the words of spec/bundle-v1.md, section 11."""

from __future__ import annotations

NOT_IN_UNIVERSE = "not_in_universe"
NO_ROW = "no_row"
ALL_MISSING = "all_values_missing"
NON_FINITE = "non_finite_score"
DROPPED = "dropped_missing"
NO_BARS = "no_bars"
CONTEXT = "context_only"
OTHER_KIND = "other_kind"
FILLED = "bars.suspended"
JUMPED = "bars.jump"
FEATURES_FILLED = "features.filled"
HISTORY = "factors.history"
