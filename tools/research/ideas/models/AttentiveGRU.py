"""GRU followed by multi-head attention of the last day over the window.
model_type: TimeSeries
"""

import torch.nn as nn


class AttentiveGRU(nn.Module):
    def __init__(self, num_features, num_timesteps, hidden=24, heads=3):
        super().__init__()
        self.gru = nn.GRU(num_features, hidden, batch_first=True)
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x):
        states, _ = self.gru(x)
        last = states[:, -1:, :]
        context, _ = self.attention(last, states, states, need_weights=False)
        return self.head(self.norm((last + context).squeeze(1)))


model_cls = AttentiveGRU
