# SPDX-License-Identifier: Apache-2.0
"""Two steps of MONAI's networks in exact arithmetic: `monai_cell.py THREADS ENGINE NAME...`.

Prints one JSON line: for every network a digest of all weights, buffers and losses, and the losses.
"""

import hashlib
import json
import sys
import warnings

import torch
from torch.nn import functional

from tiny_agent_trainer import randomness
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.model import drawing, initial
from tiny_agent_trainer.training import group, parts
from tiny_agent_trainer.training.exact_arithmetic import ExactArithmetic
from tiny_agent_trainer.training.flat import FlatParameters

from monai.networks import nets  # isort: skip

NETWORKS = {
    "DenseNet121": (
        (2, 1, 64, 64), lambda: nets.DenseNet121(spatial_dims=2, in_channels=1, out_channels=2),
    ),
    "ResNet 2-D": (
        (2, 1, 32, 32), lambda: nets.resnet18(spatial_dims=2, n_input_channels=1, num_classes=2),
    ),
    "ResNet 3-D": (
        (2, 1, 24, 24, 24),
        lambda: nets.resnet10(spatial_dims=3, n_input_channels=1, num_classes=2),
    ),
    "UNet": (
        (1, 1, 16, 16, 16),
        lambda: nets.UNet(3, 1, 2, (8, 16, 32), (2, 2), num_res_units=2, dropout=0.1),
    ),
    "DynUNet": (
        (1, 1, 16, 16, 16), lambda: nets.DynUNet(3, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2]),
    ),
    "SegResNet": ((1, 1, 16, 16, 16), lambda: nets.SegResNet(3, 8, 1, 2, dropout_prob=0.1)),
    "ViT": (
        (2, 1, 32, 32),
        lambda: nets.ViT(
            1, (32, 32), (8, 8), hidden_size=48, mlp_dim=96, num_layers=2, num_heads=4,
            classification=True, num_classes=2, spatial_dims=2, dropout_rate=0.1,
        ),
    ),
    "SwinUNETR": (
        (1, 1, 64, 64),
        lambda: nets.SwinUNETR(1, 2, feature_size=12, spatial_dims=2, drop_rate=0.1),
    ),
    "EfficientNet-B0": (
        (2, 1, 64, 64),
        lambda: nets.EfficientNetBN(
            "efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=2
        ),
    ),
}  # fmt: skip


def build(name):
    """With weights from our streams."""
    with drawing.recording() as recorder:
        network = NETWORKS[name][1]()
    initial.initialise(network, recorder, base_seed=3)
    return network.train()


def train(name, arithmetic):
    """Losses of two steps, and the digest of everything that they changed."""
    network, shape = build(name), NETWORKS[name][0]
    flat = FlatParameters(network)
    options = trainer_config.parse_config(b'[optimizer]\nname = "adamw"\n', "cell").optimizer
    adamw = parts.build_part(options, flat.length)
    count = torch.Size(shape).numel()
    x = torch.from_numpy(randomness.stream(3, name).uniform(count).reshape(shape))
    losses = []
    with arithmetic.context():
        for step in (1, 2):
            arithmetic.seed_network(3, step, 0)
            flat.gradients.zero_()
            answer = network(x)
            answer = answer[0] if isinstance(answer, (tuple, list)) else answer
            labels = torch.arange(answer[:, 0].numel()).view(answer[:, 0].shape) % 2
            loss = functional.cross_entropy(answer, labels)
            loss.backward()
            losses.append(loss.item())
            arithmetic.update(adamw, flat, 1e-3, step)
    total = hashlib.sha256(repr(losses).encode())
    for key, tensor in sorted(network.state_dict().items()):
        total.update(key.encode() + tensor.contiguous().numpy().tobytes())
    return {"digest": total.hexdigest(), "losses": losses}


def main():
    warnings.filterwarnings("ignore")
    threads, engine, *names = sys.argv[1:]
    arithmetic = ExactArithmetic(int(threads), engine, group.Alone())
    print(json.dumps({name: train(name, arithmetic) for name in names or NETWORKS}))


if __name__ == "__main__":
    main()
