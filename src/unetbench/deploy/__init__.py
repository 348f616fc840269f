"""From a measured case to a folder that runs elsewhere: export it, verify it, segment whole images with it."""
