"""Residual MLP with BatchNorm for one row of features.
model_type: Tabular
"""

import torch.nn as nn


class BatchNormMLP(nn.Module):
    def __init__(self, num_features, width=40):
        super().__init__()
        self.entry = nn.Sequential(nn.Linear(num_features, width), nn.BatchNorm1d(width), nn.SiLU())
        self.block = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.SiLU(), nn.Dropout(0.15))
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        h = self.entry(x)
        return self.head(h + self.block(h))


model_cls = BatchNormMLP
