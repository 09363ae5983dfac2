"""A caller's tables: from a parquet file or an Arrow stream to one float64 row per date and stock.

Columns by name, dates that are asked for, notations of instruments, days that windows need.
No model, no score and no bar comes in here; `members` says who of a table is a stock of the model.
"""

__all__ = ["feature_files", "features", "instruments", "look_back", "origin", "parquet", "period", "request", "windows"]
