"""Two 1D convolutions over time with BatchNorm, average pooling.
model_type: TimeSeries
"""

import torch.nn as nn


class ConvWindow(nn.Module):
    def __init__(self, num_features, num_timesteps, channels=20):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(num_features, channels, kernel_size=5, padding=2),
            nn.BatchNorm1d(channels),
            nn.LeakyReLU(0.1),
            nn.Conv1d(channels, channels, kernel_size=3, stride=2),
            nn.LeakyReLU(0.1),
            nn.AdaptiveAvgPool1d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(2 * channels, 1)

    def forward(self, x):
        return self.head(self.body(x.transpose(1, 2)))


model_cls = ConvWindow
