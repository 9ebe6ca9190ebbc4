// The brick grid. What is kept for a brick are bounds over itself *and its next neighbours* along i, j and k: a box
// that begins anywhere in a brick and is at most `size - 1` voxels long, with the voxels that its samples read, lies
// within those. So one look-up at a segment's low corner bounds all its samples.
#pragma once
#include "parameters.cuh"
#include "rays.cuh"

// Bits of a brick's flags: under the transfer function in use some code of its range has opacity; it holds invalid
// voxels; it holds no valid voxel.
enum BrickFlag : unsigned { VISIBLE = 1, INVALID = 2, EMPTY = 4 };

__device__ inline int brick_axis(float base, float step, float begin, float end, float reach, float per_voxel, int count) {
    const float low = fminf(fmaf(step, begin, base), fmaf(step, end, base)) - reach;
    // Truncation is floor for what is not clamped to 0 anyway. The float is clamped first: an int holds less.
    return static_cast<int>(fminf(fmaxf(low * per_voxel, 0.0f), static_cast<float>(count - 1)));
}

// Index of the brick that bounds samples `begin` to `end` of a ray.
__device__ inline int brick_at(const Ray &ray, float begin, float end, float reach, float per_voxel, const int *grid) {
    const int i = brick_axis(ray.x, ray.step_x, begin, end, reach, per_voxel, grid[0]);
    const int j = brick_axis(ray.y, ray.step_y, begin, end, reach, per_voxel, grid[1]);
    const int k = brick_axis(ray.z, ray.step_z, begin, end, reach, per_voxel, grid[2]);
    return (k * grid[1] + j) * grid[0] + i;
}

__device__ inline int fine_brick(const Parameters &p, const Ray &ray, float begin, float end) {
    return brick_at(ray, begin, end, p.reach, p.fine_per_voxel, p.fine_grid);
}

__device__ inline int coarse_brick(const Parameters &p, const Ray &ray, float begin, float end) {
    return brick_at(ray, begin, end, p.reach, p.coarse_per_voxel, p.coarse_grid);
}
