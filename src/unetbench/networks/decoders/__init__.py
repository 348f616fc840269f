"""Decoders, one file each: `Decoder(channels, strides, decoder_channels=None)`.

A decoder gives `out_channels` and `out_stride`, and maps the pyramid to one feature map:
[(B, Cᵢ, H/sᵢ, W/sᵢ)], finest first -> (B, out_channels, H/out_stride, W/out_stride).
"""
