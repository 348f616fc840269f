"""How it is measured: fresh processes, a clock, an answer that is checked before it has a time.

The parent side (schedule, block, launch, preflight) imports neither torch nor timm.
"""
