"""The Python client of Voxelcast."""
