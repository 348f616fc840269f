"""Whole networks of other projects, one file each, used as they are.

A file gives `build(*, classes, in_channels, image_size, **options)`, which returns a `Whole` whose weights are
drawn from torch's random state, never fetched; `REQUIRES`, its packages, and `OPTIONS`, the accepted values
by key, the default first. Written `name.X[Y]`, X is its option `architecture` and Y its option `encoder`.
"""
