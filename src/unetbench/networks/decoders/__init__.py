"""Decoders, one file each: `Decoder(channels, strides, decoder_channels=None, **options)`.

A decoder gives `out_channels` and `out_stride`, and maps the pyramid to one feature map:
[(B, Cᵢ, H/sᵢ, W/sᵢ)], finest first -> (B, out_channels, H/out_stride, W/out_stride). A map may be a pixel off,
and neighbouring levels may be any ratio apart: maps are brought to each other's real size. `OPTIONS` are the
accepted values by key, the default first; they arrive as text.
"""
