"""Whole networks are those of their projects: the same modules, the same answers, the published sizes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch
import torch
import torchvision
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from safetensors.torch import save_file
from torch import nn

from tests.test_plans import plans, plans_file
from unetbench import Network
from unetbench.errors import BadInput, Unsupported
from unetbench.networks.references import nnunet, smp, unet_2015
from unetbench.networks.references import torchvision as of_torchvision
from unetbench.networks.weights import fill, tensors
from unetbench.networks.whole import Whole


def _parameters(model: nn.Module) -> int:
    return sum(each.numel() for each in model.parameters())


def test_the_original_unet_has_the_papers_sizes() -> None:
    with torch.device("meta"):
        network = unet_2015.UNet2015(1, 2, padding="valid")
        assert network(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)  # figure 1
    # Figure 1's arrows, each with a bias: 3×3 convolutions, 2×2 up-convolutions, the 1×1 head.
    widths = (64, 128, 256, 512, 1024)
    threes = [(1, 64), *pairwise(widths), *((w, w) for w in widths)]
    threes += [(2 * w, w) for w in widths[:-1]] + [(w, w) for w in widths[:-1]]
    count = sum(9 * a * b + b for a, b in threes) + sum(4 * 2 * w * w + w for w in widths[:-1]) + 64 * 2 + 2
    assert _parameters(network) == count == 31_030_658


@pytest.mark.parametrize("side", [32, 33, 64, 65, 100, 388])
@torch.no_grad()
def test_the_overlap_tile_covers_every_pixel(side: int) -> None:
    before, after = unet_2015._margins(side)
    assert before == 92
    assert (side + before + after - 124) % 16 == 0
    assert side + before + after - 184 >= side
    seen: list[torch.Size] = []

    class Crop(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images.shape)
            return images[..., 92:-92, 92:-92]

    image = torch.rand(1, 2, side, 40)
    assert torch.equal(unet_2015.OverlapTile(Crop())(image), image), "a pixel's logits stand in its place"
    assert seen[0][2] == side + before + after


@torch.no_grad()
def test_the_overlap_tile_mirrors_the_image() -> None:
    class Look(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.seen = images
            return images

    look = Look()
    image = torch.rand(1, 1, 120, 120)
    unet_2015.OverlapTile(look)(image)
    assert torch.equal(look.seen[0, 0, 92 - 5, 92:212], image[0, 0, 5]), "figure 2"
    assert torch.equal(look.seen[0, 0, 92:212, 92 + 119 + 3], image[0, 0, :, 116])


def test_valid_and_padded_are_the_same_weights() -> None:
    one, other = (unet_2015.build(classes=2, in_channels=3, padding=p) for p in ("valid", "same"))
    assert _parameters(one) == _parameters(other)
    assert _parameters(one.encoder) == _parameters(other.encoder)
    assert (one.multiple_px, one.stride_px) == (1, 16), (
        "it takes any size, and moves by its deepest map alone"
    )
    assert other.multiple_px == other.stride_px == 16


@pytest.mark.parametrize(
    "text", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]
)
@torch.no_grad()
def test_torchvisions_networks_are_torchvisions(text: str) -> None:
    torch.manual_seed(3)
    model = of_torchvision.build(classes=5, in_channels=3, architecture=text).eval()
    torch.manual_seed(3)
    own = torchvision.models.get_model(text, weights=None, weights_backbone=None, num_classes=5).eval()
    image = torch.randn(1, 3, 65, 70)
    assert torch.equal(model(image), own(image)["out"])
    deepest = list(model.encoder(image).values())[-1]
    assert deepest.shape[2:] == (-(-65 // model.stride_px), -(-70 // model.stride_px))


def test_torchvision_takes_other_channels() -> None:
    model = of_torchvision.build(classes=2, in_channels=4, architecture="lraspp_mobilenet_v3_large").eval()
    assert model(torch.randn(1, 4, 64, 64)).shape == (1, 2, 64, 64)


def test_every_architecture_of_smp_is_offered_with_all_its_encoders() -> None:
    own = set(segmentation_models_pytorch.MODEL_ARCHITECTURES_MAPPING)
    assert set(smp.OPTIONS["architecture"]) == own
    encoders = set(segmentation_models_pytorch.encoders.get_encoder_names())
    assert set(smp.OPTIONS["encoder"]) - {"tu-ENCODER"} == encoders


@pytest.mark.parametrize("architecture", smp.OPTIONS["architecture"])
def test_every_architecture_of_smp_takes_any_size(architecture: str) -> None:
    encoder = "tu-vit_tiny_patch16_224" if architecture == "dpt" else "resnet18"
    with torch.device("meta"):
        model = smp.build(
            classes=3, in_channels=3, image_size=(70, 90), architecture=architecture, encoder=encoder
        )
        assert model.eval()(torch.empty(1, 3, 70, 90)).shape == (1, 3, 70, 90)
        assert model.stride_px in (8, 16, 32), "of its deepest map: where tiles may begin"


@pytest.mark.parametrize("encoder", ["tu-mobilenetv4_conv_small", "tu-edgenext_small", "mit_b0", "vgg11"])
@torch.no_grad()
def test_smps_networks_are_smps(encoder: str) -> None:
    torch.manual_seed(3)
    model = smp.build(classes=2, in_channels=3, architecture="unet", encoder=encoder).eval()
    torch.manual_seed(3)
    own = segmentation_models_pytorch.Unet(encoder, encoder_weights=None, classes=2).eval()
    image = torch.randn(1, 3, 64, 96)
    assert torch.equal(model(image), own(image))


def test_a_timm_encoder_of_smp_brings_its_normalisation_and_its_size() -> None:
    with torch.device("meta"):
        model = smp.build(
            classes=1,
            in_channels=3,
            architecture="dpt",
            encoder="tu-vit_tiny_patch16_224",
            image_size=(60, 90),
        )
        assert (model.mean, model.fixed_size) == ((0.5, 0.5, 0.5), (64, 96))
        with pytest.raises(BadInput, match=r"up to 64×96 pixels and is given one of 65×90"):
            model(torch.empty(1, 3, 65, 90))


@pytest.mark.parametrize(
    ("name", "kind"), [("PlainConvUNet", PlainConvUNet), ("ResidualEncoderUNet", ResidualEncoderUNet)]
)
@torch.no_grad()
def test_nnunets_networks_are_nnunets(name: str, kind: type[nn.Module]) -> None:
    with torch.device("meta"):
        model = nnunet.build(classes=2, in_channels=1, architecture=name).eval()
        assert type(model.network) is kind
        assert (model.multiple_px, model.dimensions) == (128, 2), "512 to 4 in seven halvings"
        assert model(torch.empty(1, 1, 512, 500)).shape == (1, 2, 512, 500)
    assert not [each for each in model.modules() if isinstance(each, nn.Conv3d)]


@pytest.mark.parametrize("name", ["PlainConvUNet", "ResidualEncoderUNet"])
def test_nnunet_is_built_for_volumes_too(name: str) -> None:
    with torch.device("meta"):
        model = nnunet.build(classes=3, in_channels=1, architecture=name, dimensions="3").eval()
        assert model(torch.empty(1, 1, 64, 64, 70)).shape == (1, 3, 64, 64, 70)
        with pytest.raises(Unsupported, match=r"3D network takes inputs of 5 dimensions.*\(1, 1, 64, 64\)"):
            model(torch.empty(1, 1, 64, 64))


@pytest.mark.parametrize("kind", ["PlainConvUNet", "ResidualEncoderUNet"])
@torch.no_grad()
def test_a_network_from_plans_is_the_one_that_they_describe(kind: str, tmp_path: Path) -> None:
    path = plans_file(tmp_path, plans(kind))
    model = Network(reference=f"nnunet[plans={path}]", classes=2, in_channels=1).build()
    assert isinstance(model, Whole)
    arguments: dict[str, Any] = dict(plans(kind)["configurations"]["2d"]["architecture"]["arch_kwargs"])
    arguments |= {"conv_op": nn.Conv2d, "norm_op": nn.InstanceNorm2d, "nonlin": nn.LeakyReLU}
    built = {"PlainConvUNet": PlainConvUNet, "ResidualEncoderUNet": ResidualEncoderUNet}[kind]
    own = built(input_channels=1, num_classes=2, **arguments).eval()
    own.load_state_dict(model.network.state_dict())
    image = torch.randn(1, 1, 64, 64)
    assert torch.equal(model(image), own(image))
    assert model(torch.randn(1, 1, 33, 70)).shape == (1, 2, 33, 70)


def test_no_branch_of_the_residual_encoder_is_dead(tmp_path: Path) -> None:
    path = plans_file(tmp_path, plans("ResidualEncoderUNet"))
    model = Network(reference=f"nnunet[plans={path}]", in_channels=1).build()
    norms = [each for each in model.modules() if isinstance(each, nn.InstanceNorm2d)]
    assert norms
    assert all(each.weight.any() for each in norms)


def test_shared_tensors_are_saved_once_and_a_projects_own_checkpoint_fits(tmp_path: Path) -> None:
    path = plans_file(tmp_path, plans("PlainConvUNet"))
    network = Network(reference=f"nnunet[plans={path}]", classes=2, in_channels=1)
    model = network.build()
    assert isinstance(model, Whole)
    assert len(tensors(model)) < len(model.state_dict()), "nnU-Net names its modules twice"
    own = {name: value + 1 for name, value in model.network.state_dict().items()}
    torch.save(own, tmp_path / "own.pt")
    fill(model, str(tmp_path / "own.pt"), seed=0)
    assert all(torch.equal(value, own[name]) for name, value in model.network.state_dict().items())
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="do not fit this network: the file lacks"):
        fill(model, str(tmp_path / "other.safetensors"), seed=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("configuration=2d", "needs plans"),
        ("dimensions=2,plans={}", "give one or the other"),
        ("configuration=2x,plans={}", "unknown configuration '2x'"),
    ],
)
def test_options_of_nnunet_that_do_not_go_together(tmp_path: Path, options: str, said: str) -> None:
    path = plans_file(tmp_path, plans("PlainConvUNet"))
    with pytest.raises(BadInput) as caught:
        Network(reference=f"nnunet[{options.format(path)}]").build()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_project_cannot_build_is_told_in_a_line(tmp_path: Path) -> None:
    wrong = plans("PlainConvUNet")
    wrong["configurations"]["2d"]["architecture"]["arch_kwargs"]["n_conv_per_stage"] = [2, 2]
    path = plans_file(tmp_path, wrong)
    for reference in (f"nnunet[plans={path}]", "smp.dpt[tu-resnet18]"):
        with pytest.raises(Unsupported, match=r"^[^\n]*cannot be built") as caught:
            Network(reference=reference).build()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoder", "mean", "std"),
    [
        ("resnet18", 0.485, 0.229), ("inceptionv4", 0.5, 0.5), ("timm-tf_efficientnet_lite0", 0.5, 0.5),
        ("timm-efficientnet-b0", 0.485, 0.229), ("dpn68", 0.486, 0.235), ("xception", 0.5, 0.5),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:`timm-` encoders:DeprecationWarning")
def test_an_encoder_of_smp_brings_the_normalisation_of_its_weights(
    encoder: str, mean: float, std: float
) -> None:
    with torch.device("meta"):
        model = smp.build(classes=1, in_channels=3, encoder=encoder)
    assert model.mean[0] == pytest.approx(mean, abs=1e-3)
    assert model.std[0] == pytest.approx(std, abs=1e-3)


@torch.no_grad()
def test_a_checkpoint_of_torchvision_fits_as_it_is_saved_with_its_auxiliary_head(tmp_path: Path) -> None:
    own = torchvision.models.get_model(
        "fcn_resnet50", weights=None, weights_backbone=None, num_classes=2, aux_loss=True
    ).eval()
    assert any(name.startswith("aux_classifier.") for name in own.state_dict())
    torch.save(own.state_dict(), tmp_path / "own.pt")
    text = "torchvision.fcn_resnet50"
    model = Network(reference=text, classes=2, weights=str(tmp_path / "own.pt")).build()
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(model(image), own(image)["out"])


def test_what_a_project_cannot_run_is_told_in_a_line_too() -> None:
    """Its weights take a run: smp pads to 32, which a patch of 14 does not divide."""
    with pytest.raises(Unsupported, match=r"^[^\n]*cannot be built"):
        Network(reference="smp.dpt[tu-vit_small_patch14_dinov2]", image_size=(96, 96)).build()


def test_pretrained_weights_are_not_fetched() -> None:
    with pytest.raises(BadInput, match="no pretrained weights here"):
        Network(reference="torchvision.fcn_resnet50", weights="pretrained").build()
