"""The front page's example: build, rewrite, prepare, run, read."""

import numpy as np

import unetbench as ub

network = ub.Network("resnet18", decoder="unet", classes=1)
model = network.build()  # an nn.Module in eval mode, with .encoder and .decoder
image = np.zeros((1, 3, 256, 256), np.float32)
# The same function, fewer operations: fast.report tells them.
fast = ub.rewrite(model, "fold_head", shape=image.shape)
session = ub.prepare(fast, image, runtime="torch_eager", precision="fp32", threads=2)
session.run()
print(session.read().shape)  # (1, 1, 256, 256)
