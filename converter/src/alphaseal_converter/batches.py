"""The place that saved models and configurations know: what adapters share; it lives in `alphaseal.adapters.batches`."""

import sys

from alphaseal.adapters import batches

sys.modules[__name__] = batches
