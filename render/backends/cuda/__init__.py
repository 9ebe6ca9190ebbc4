"""The CUDA renderer: kernels, their parameter block, and the grid of bricks that they skip by."""
