"""LSTM over the window; last state joined with the mean over time.
model_type: TimeSeries
"""

import torch
import torch.nn as nn


class WindowLSTM(nn.Module):
    def __init__(self, num_features, num_timesteps, hidden=28):
        super().__init__()
        self.num_timesteps = num_timesteps
        self.lstm = nn.LSTM(num_features, hidden, num_layers=1, batch_first=True)
        self.head = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, x):
        states, _ = self.lstm(x)
        return self.head(torch.cat([states[:, -1], states.mean(dim=1)], dim=1))


model_cls = WindowLSTM
