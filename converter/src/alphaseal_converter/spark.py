"""The place that saved models and configurations know: a bundle as a batch function of Spark; it lives in `alphaseal.adapters.spark`."""

import sys

from alphaseal.adapters import spark

sys.modules[__name__] = spark
