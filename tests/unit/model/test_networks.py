# SPDX-License-Identifier: Apache-2.0
"""Every listed network builds, gives one output per class, and is the one its paper describes.

Not tested here: that a network learns (the loop's tests and the story of the first experiment).
"""

import pytest
import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.trainer_config import parse_config
from tiny_agent_trainer.model import drawing, initial, monai_networks, shape
from tiny_agent_trainer.model.build import build_network

IMAGE = (1, 16, 16)
VOLUME = (1, 8, 8, 8)


def build(text, sizes=IMAGE, kind="image", classes=3, seed=0):
    options = parse_config(f"[model]\n{text}\n".encode(), "x.toml").model
    target = shape.InputShape(kind=kind, sizes=sizes, classes=classes)
    return build_network(options, target, seed)


def answer(built, sizes):
    network = built.network.eval()
    with torch.no_grad():
        return network(torch.linspace(-1, 1, 2 * torch.Size(sizes).numel()).reshape(2, *sizes))


class TestListed:
    """Our own networks."""

    @pytest.mark.parametrize("sizes", [IMAGE, (3, 16, 20), VOLUME])
    @pytest.mark.parametrize(
        "text",
        [
            'name = "mlp"\nhidden = [8]', 'name = "mlp"\nhidden = []',
            'name = "mlp"\nhidden = [8, 4]\ndropout = 0.5', 'name = "cnn"\nwidth = 4',
            'name = "cnn"\nwidth = 2\nlayers = 4\ndropout = 0.5', 'name = "resnet18"\nwidth = 4',
            'name = "resnet50"\nwidth = 4',
        ],
    )  # fmt: skip
    def test_images_and_volumes_get_one_output_per_class(self, text, sizes):
        found = answer(build(text, sizes), sizes)
        assert found.shape == (2, 3)
        assert found.dtype == torch.float32
        assert bool(torch.isfinite(found).all())
        assert not torch.equal(found[0], found[1])

    def test_patches_get_one_output_per_class(self):
        built = build('name = "vit"\nlayers = 2\nwidth = 12\ndropout = 0.1', (9, 16), "patches")
        found = answer(built, (9, 16))
        assert found.shape == (2, 3)
        assert not torch.equal(found[0], found[1])

    @pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "leaky_relu", "tanh"])
    @pytest.mark.parametrize("name", ["mlp", "cnn"])
    def test_every_activation_acts(self, name, activation):
        built = build(f'name = "{name}"\nactivation = "{activation}"')
        plain = build(f'name = "{name}"\nactivation = "relu"')
        same = torch.equal(answer(built, IMAGE), answer(plain, IMAGE))
        assert same == (activation == "relu")

    def test_every_parameter_gets_a_gradient(self):
        for text, sizes, kind in (
            ('name = "cnn"\nwidth = 4', IMAGE, "image"),
            ('name = "resnet18"\nwidth = 4', IMAGE, "image"),
            ('name = "resnet50"\nwidth = 4', IMAGE, "image"),
            ('name = "vit"\nlayers = 2\nwidth = 12', (9, 16), "patches"),
        ):
            network = build(text, sizes, kind).network.train()
            network(torch.ones(4, *sizes).cumsum(-1)).square().sum().backward()
            lacking = [name for name, p in network.named_parameters() if p.grad is None]
            assert lacking == [], text

    def test_batch_norm_and_dropout_act_in_training_only(self):
        network = build('name = "cnn"\nwidth = 4\ndropout = 0.5').network
        x = torch.linspace(-1, 1, 8 * 256).reshape(8, *IMAGE)
        network.eval()
        assert torch.equal(network(x), network(x))
        network.train()
        assert not torch.equal(network(x), network(x))

    @pytest.mark.parametrize(("layers", "fits"), [(5, True), (6, False)])
    def test_more_halvings_than_pixels_are_refused(self, layers, fits):
        if fits:
            assert answer(build(f"width = 2\nlayers = {layers}"), IMAGE).shape == (2, 3)
        else:
            with pytest.raises(errors.ModelError, match="at most 5 for images of 16 pixels"):
                build(f"width = 2\nlayers = {layers}")

    @pytest.mark.parametrize(
        ("text", "kind", "wanted"),
        [
            ('name = "vit"', "image", "patches"), ('name = "cnn"', "patches", "image"),
            ('name = "resnet18"', "patches", "image"), ('name = "monai:UNet"', "patches", "image"),
        ],
    )  # fmt: skip
    def test_input_of_the_wrong_kind_is_refused_with_the_line_to_write(self, text, kind, wanted):
        with pytest.raises(errors.ModelError, match=f'write kind = "{wanted}" under'):
            build(text, (16, 16), kind)


def convolution(inputs, outputs, kernel, dims):
    return inputs * outputs * kernel**dims + 2 * outputs  # no bias; scale and shift of batch norm


def count_resnet(counts, channels, classes, dims, width, bottleneck):
    """Trained values of He et al.'s table 1 with a 3x3 stem, counted by hand."""
    total, inputs = convolution(channels, width, 3, dims), width
    for stage, blocks in enumerate(counts):
        inner = width * 2**stage
        outputs = inner * 4 if bottleneck else inner
        for block in range(blocks):
            if bottleneck:
                total += convolution(inputs, inner, 1, dims) + convolution(inner, inner, 3, dims)
                total += convolution(inner, outputs, 1, dims)
            else:
                total += convolution(inputs, inner, 3, dims) + convolution(inner, inner, 3, dims)
            if inputs != outputs or (stage and block == 0):
                total += convolution(inputs, outputs, 1, dims)
            inputs = outputs
    return total + inputs * classes + classes


class TestPublishedSizes:
    """Residual networks have the number of parameters of the published ones."""

    def test_the_count_by_hand_is_the_published_one(self):
        """Kuang Liu's CIFAR-10 models, from which MedMNIST's benchmark took its 28-pixel stem."""
        assert count_resnet((2, 2, 2, 2), 3, 10, 2, 64, bottleneck=False) == 11_173_962
        assert count_resnet((3, 4, 6, 3), 3, 10, 2, 64, bottleneck=True) == 23_520_842

    @pytest.mark.parametrize("channels", [1, 3])
    def test_resnet18_of_the_published_width(self, channels):
        built = build('name = "resnet18"', (channels, 28, 28), classes=2)
        expected = count_resnet((2, 2, 2, 2), channels, 2, 2, 64, bottleneck=False)
        assert built.num_parameters == expected == {1: 11_168_706, 3: 11_169_858}[channels]

    @pytest.mark.parametrize(("sizes", "dims"), [(IMAGE, 2), (VOLUME, 3)])
    def test_narrow_ones_in_two_and_three_dims(self, sizes, dims):
        for name, counts in (("resnet18", (2, 2, 2, 2)), ("resnet50", (3, 4, 6, 3))):
            built = build(f'name = "{name}"\nwidth = 4', sizes)
            assert built.num_parameters == count_resnet(
                counts, 1, 3, dims, 4, bottleneck=name == "resnet50"
            )

    def test_the_vision_transformer_has_the_parameters_of_its_formula(self):
        width, layers, patches, values = 12, 2, 9, 16
        block = 2 * 2 * width + width * 3 * width + 3 * width + width * width + width
        block += 2 * width * 4 * width + 4 * width + width
        expected = values * width + width + patches * width + layers * block
        expected += 2 * width + width * 3 + 3
        built = build(f'name = "vit"\nlayers = {layers}\nwidth = {width}', (9, 16), "patches")
        assert built.num_parameters == expected


MONAI = {
    "UNet": """spatial_dims = "{dims}"
in_channels = "{channels}"
out_channels = "{classes}"
channels = [4, 8, 16]
strides = [2, 2]""",
    "SwinUNETR": """spatial_dims = "{dims}"
in_channels = "{channels}"
out_channels = "{classes}"
feature_size = 12
depths = [1, 1, 1, 1]""",
    "DynUNet": """spatial_dims = "{dims}"
in_channels = "{channels}"
out_channels = "{classes}"
kernel_size = [3, 3, 3]
strides = [1, 2, 2]
upsample_kernel_size = [2, 2]
filters = [4, 8, 16]""",
    "SegResNet": """spatial_dims = "{dims}"
in_channels = "{channels}"
out_channels = "{classes}"
init_filters = 8""",
    "ViT": """spatial_dims = "{dims}"
in_channels = "{channels}"
img_size = "{size}"
patch_size = 16
hidden_size = 24
mlp_dim = 48
num_layers = 2
num_heads = 3
classification = true
num_classes = "{classes}" """,
    "DenseNet121": """spatial_dims = "{dims}"
in_channels = "{channels}"
out_channels = "{classes}" """,
    "EfficientNetBN": """model_name = "efficientnet-b0"
pretrained = false
spatial_dims = "{dims}"
in_channels = "{channels}"
num_classes = "{classes}" """,
}
SLOW = {"DenseNet121", "EfficientNetBN"}
NAMES = [pytest.param(name, marks=pytest.mark.long if name in SLOW else ()) for name in MONAI]


class TestMonai:
    """Any network of MONAI, drawn from our streams."""

    sizes = (1, 64, 64)

    def draw(self, name, seed=0):
        """The network alone; those for segmentation do not answer with one number per class."""
        text = f'[model]\nname = "monai:{name}"\n[model.arguments]\n{MONAI[name]}\n'
        options = parse_config(text.encode(), "x.toml").model
        target = shape.InputShape(kind="image", sizes=self.sizes, classes=3)
        with drawing.recording() as recorder:
            network = monai_networks.build_monai(options, target)
        initial.initialise(network, recorder, seed)
        return network

    @pytest.mark.parametrize("name", NAMES)
    def test_it_is_drawn_twice_with_equal_bits_and_answers(self, name):
        torch.manual_seed(1)
        network = self.draw(name)
        torch.manual_seed(2)
        again = self.draw(name).state_dict()
        for key, value in network.state_dict().items():
            assert value.numpy().tobytes() == again[key].numpy().tobytes(), key
        lost = [key for key, p in network.named_parameters()
                if p.ndim > 1 and not p.any() and key != "cls_token"]  # fmt: skip
        assert lost == [], "drawn weights that stayed zero"
        with torch.no_grad():
            found = network.eval()(torch.linspace(-1, 1, 2 * 64 * 64).reshape(2, *self.sizes))
        found = found[0] if isinstance(found, tuple) else found
        assert found.shape[:2] == (2, 3)
        assert bool(torch.isfinite(found).all())

    def test_another_seed_gives_other_weights(self):
        one, other = (self.draw("UNet", seed).state_dict() for seed in (0, 1))
        assert any(not torch.equal(one[key], other[key]) for key in one)

    def test_a_classifier_of_monai_is_built_from_the_configuration(self):
        text = 'name = "monai:Classifier"\n[model.arguments]\nin_shape = [2, 8, 8]\n'
        text += 'channels = [4, "{classes}"]\nstrides = [2, 2]\nclasses = "{classes}"'
        assert answer(build(text, (2, 8, 8), classes=5), (2, 8, 8)).shape == (2, 5)

    def test_a_network_that_answers_with_pictures_is_refused_with_their_shape(self):
        text = f'name = "monai:UNet"\n[model.arguments]\n{MONAI["UNet"]}'
        with pytest.raises(errors.ModelError, match=r"shape \(2, 3, 64, 64\), not \(2, 3\)"):
            build(text, self.sizes)

    def test_a_name_that_monai_does_not_have_is_answered_with_those_it_has(self):
        with pytest.raises(errors.ModelError, match=r"DenseNet121.*UNet.*found UNett"):
            build('name = "monai:UNett"')

    def test_arguments_that_monai_refuses_are_refused_in_its_words(self):
        with pytest.raises(errors.ModelError, match="unexpected keyword argument 'colour'"):
            build('name = "monai:UNet"\narguments.colour = 1')
