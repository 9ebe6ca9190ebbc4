"""The commands of ``voxelcast``, one module each; ``render.cli`` is the group."""
