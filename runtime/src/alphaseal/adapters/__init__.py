"""A bundle inside another system: qlib, MLflow, Spark, Ray.

Each module names its own system and no other does; a worker needs this distribution alone.
Nothing here decides about trust or numbers: adapters hand tables in and scores out.
"""

__all__ = ["batches", "mlflow", "qlib", "ray", "spark"]
