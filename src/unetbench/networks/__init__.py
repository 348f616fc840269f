"""What is computed: encoders, decoders and whole networks. Imports torch and timm only.

A network knows nothing of rewrites, runtimes or measuring: those act on it from outside.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from unetbench import parts
from unetbench.errors import Unsupported, in_our_words
from unetbench.networks.encoder import Encoder
from unetbench.networks.segmenter import Segmenter
from unetbench.networks.weights import fill
from unetbench.networks.whole import Whole
from unetbench.records import Network

__all__ = ["Encoder", "Segmenter", "Whole", "build", "drawn"]


def build(network: Network) -> Segmenter | Whole:
    """Build a network with its weights, in eval mode.

    Raises: Unsupported where the encoder gives no pyramid, or a reference cannot be built so; BadInput for
    weights that do not fit.
    """
    model = drawn(network)
    # Random weights take a run, which the forward of another project may refuse.
    with nullcontext() if network.reference is None else _of_another_project(network):
        fill(model, network.weights, seed=network.seed)
    return model.eval()


def drawn(network: Network) -> Segmenter | Whole:
    """Build a network's modules as their projects initialise them: enough to count, not to compare answers.

    Raises: as `build`.
    """
    return _segmenter(network) if network.reference is None else _reference(network)


def _segmenter(network: Network) -> Segmenter:
    choice = network.part
    decoder_module = parts.chosen("decoder", choice).module()
    encoder = Encoder(
        network.encoder,
        in_channels=network.in_channels,
        image_size=network.image_size,
        pretrained=network.weights == "pretrained",
        seed=network.seed,
    )
    decoder = decoder_module.Decoder(
        encoder.channels, encoder.strides, decoder_channels=network.decoder_channels, **dict(choice.options)
    )
    return Segmenter(encoder, decoder, classes=network.classes)


def _reference(network: Network) -> Whole:
    choice = network.part
    module = parts.chosen("reference", choice).module()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(network.seed)
        with _of_another_project(network):
            model: Whole = module.build(
                classes=network.classes,
                in_channels=network.in_channels,
                image_size=network.image_size,
                **dict(choice.options),
            )
    return model


def _of_another_project(network: Network) -> AbstractContextManager[None]:
    """Tell what another project's code raises, of whatever kind, as a network that is not supported."""
    return in_our_words(lambda said: Unsupported(f"{network.name} cannot be built ({said}): choose another."))
