"""The operators of small networks against PyTorch's own counter of FLOPs and its count of parameters."""

import pytest

from mlsysim.workloads.network import walk
from mlsysim.workloads.operators import total_flops
from mlsysim.workloads.stages import parse
from mlsysim.workloads.trace import Shape, Trace

torch = pytest.importorskip("torch")
nn = torch.nn


class Around(nn.Module):
    """A branch around which the data are added, through a shortcut if there is one."""

    def __init__(self, branch, shortcut=None):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut or nn.Identity()

    def forward(self, x):
        return self.branch(x) + self.shortcut(x)


class Squeeze(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * self.scale(x)


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-1, -2)).softmax(-1)
        x = x + self.out((scores @ v).transpose(1, 2).reshape(b, t, w))
        return x + self.mlp(self.norm2(x))


def unit(i, o, k=1, s=1, g=1):
    return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o), nn.ReLU())


CASES = {
    "conv 16 k5 s2 p1 bias; maxpool k3 s2 p1; flatten; fc 7": lambda: nn.Sequential(
        nn.Conv2d(8, 16, 5, 2, 1), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(16 * 8 * 8, 7)
    ),
    "conv 12 k3 g4 d2; conv 6 k4 s2 p1 up bias": lambda: nn.Sequential(
        nn.Conv2d(8, 12, 3, 1, 2, 2, groups=4, bias=False), nn.BatchNorm2d(12), nn.ConvTranspose2d(12, 6, 4, 2, 1)
    ),
    "basic 16 s2 x2": lambda: nn.Sequential(
        Around(nn.Sequential(unit(8, 16, 3, 2), unit(16, 16, 3)), unit(8, 16, 1, 2)),
        Around(nn.Sequential(unit(16, 16, 3), unit(16, 16, 3))),
    ),
    "bottleneck 32 w16 g4 s2": lambda: Around(
        nn.Sequential(unit(8, 16), unit(16, 16, 3, 2, 4), unit(16, 32)), unit(8, 32, 1, 2)
    ),
    "inverted 8 k5 e6 se4": lambda: Around(
        nn.Sequential(unit(8, 48), unit(48, 48, 5, 1, 48), Squeeze(48, 2), unit(48, 8))
    ),
    "separable 24 s2; up 2; separable 24": lambda: nn.Sequential(
        unit(8, 8, 3, 2, 8), unit(8, 24), nn.Upsample(scale_factor=2), unit(24, 24, 3, 1, 24), unit(24, 24)
    ),
    "patch 32 k4; encoder h4 x3; norm": lambda: nn.Sequential(
        nn.Conv2d(8, 32, 4, 4), Tokens(), *(Attention(32, 4) for _ in range(3)), nn.LayerNorm(32)
    ),
    "double 16; globalpool; fc 5 bare": lambda: nn.Sequential(
        unit(8, 16, 3), unit(16, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5, bias=False)
    ),
}


@pytest.mark.parametrize("stages", CASES)
def test_flops_and_parameters_match_pytorch(stages):
    from torch.utils.flop_counter import FlopCounterMode

    module = CASES[stages]().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = module(torch.zeros(3, 8, 32, 32))
    trace = Trace(batch=3.0, shape=Shape(8.0, (32.0, 32.0)))
    walk(trace, parse(stages))
    assert total_flops(trace.operators) == counter.get_total_flops()
    assert trace.parameters == sum(p.numel() for p in module.parameters())
    assert 3 * trace.shape.values == out.numel()


def test_lstm_weights_match_pytorch():
    # the counter does not look inside a fused LSTM, so only parameters are compared
    trace = Trace(shape=Shape(24.0, (10.0,)))
    walk(trace, parse("lstm 16; fold 2; lstm 16"))
    modules = [nn.LSTM(24, 16), nn.LSTM(32, 16)]
    assert trace.parameters == sum(p.numel() for module in modules for p in module.parameters())
