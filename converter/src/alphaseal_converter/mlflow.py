"""The place that saved models and configurations know: a bundle as a model of MLflow; it lives in `alphaseal.adapters.mlflow`."""

import sys

from alphaseal.adapters import mlflow

sys.modules[__name__] = mlflow
