"""The place that saved models and configurations know: a bundle as a batch function of Ray Data; it lives in `alphaseal.adapters.ray`."""

import sys

from alphaseal.adapters import ray

sys.modules[__name__] = ray
