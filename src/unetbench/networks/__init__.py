"""What is computed: encoders, decoders and whole networks. Imports torch and timm only.

A network knows nothing of rewrites, runtimes or measuring: those act on it from outside.
"""

from __future__ import annotations

from unetbench import parts
from unetbench.networks.encoder import Encoder
from unetbench.networks.segmenter import Segmenter
from unetbench.networks.weights import fill
from unetbench.records import Network

__all__ = ["Encoder", "Segmenter", "build"]


def build(network: Network) -> Segmenter:
    """Build a network with its weights, in eval mode.

    Raises: Unsupported where the encoder gives no pyramid; BadInput for weights that do not fit.
    """
    decoder_module = parts.find("decoder", network.decoder).module()
    encoder = Encoder(
        network.encoder,
        in_channels=network.in_channels,
        image_size=network.image_size,
        pretrained=network.weights == "pretrained",
        seed=network.seed,
    )
    decoder = decoder_module.Decoder(
        encoder.channels, encoder.strides, decoder_channels=network.decoder_channels
    )
    model = Segmenter(encoder, decoder, classes=network.classes)
    fill(model, network.weights, seed=network.seed)
    return model.eval()
