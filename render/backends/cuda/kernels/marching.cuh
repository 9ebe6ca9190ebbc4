// Samples along a ray, several at once: their reads are on the way together, where one after the other each would wait
// for memory. What is made of them keeps their order, so that pictures are the same bit for bit.
#pragma once
#include "rays.cuh"
#include "sampling.cuh"

constexpr int AT_ONCE = 4;

__device__ inline float sample_at(const Voxels &v, const Ray &ray, float k) {
    return sample(v, fmaf(ray.step_x, k, ray.x), fmaf(ray.step_y, k, ray.y), fmaf(ray.step_z, k, ray.z));
}

// Samples k to k + AT_ONCE - 1; beyond `last` that one again.
__device__ inline void sample_several(const Voxels &v, const Ray &ray, float k, float last, float (&values)[AT_ONCE]) {
#pragma unroll
    for (int n = 0; n < AT_ONCE; ++n) values[n] = sample_at(v, ray, fminf(k + n, last));
}

// One of them, by a number that is not known beforehand: an array indexed by it would not stay in registers.
__device__ inline float picked(const float (&values)[AT_ONCE], int number) {
    float value = values[0];
#pragma unroll
    for (int n = 1; n < AT_ONCE; ++n) value = number == n ? values[n] : value;
    return value;
}
