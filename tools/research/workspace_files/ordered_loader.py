"""A qlib data loader that keeps the written order: expressions as listed, then the columns of a parquet file as stored."""

import pandas as pd
from qlib.data.dataset.loader import DataLoader, QlibDataLoader


class OrderedFeatureLoader(DataLoader):
    """Unlike qlib's NestedDataLoader it never sorts the columns."""

    def __init__(self, feature, label, parquet):
        self.feature, self.label, self.parquet = feature, label, parquet

    def load(self, instruments=None, start_time=None, end_time=None):
        base = QlibDataLoader(config={"feature": self.feature, "label": self.label}).load(
            instruments, start_time, end_time
        )
        extra = pd.read_parquet(self.parquet).reindex(base.index)
        return pd.concat([base[["feature"]], extra[["feature"]], base[["label"]]], axis=1)
