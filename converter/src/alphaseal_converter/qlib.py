"""The place that saved models and configurations know: BundleModel, a model of qlib; it lives in `alphaseal.adapters.qlib`."""

import sys

from alphaseal.adapters import qlib

sys.modules[__name__] = qlib
