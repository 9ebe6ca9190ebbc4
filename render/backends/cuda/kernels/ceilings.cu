// What a card can do at most, for the benchmark: samples a second where every neighbour is in the cache, and bytes a
// second that are read once. Launched with blocks of 128 threads in one dimension.
#include "sampling.cuh"

__device__ inline long long thread_index() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }

// Samples taken in a row before the position returns: 8 voxels, half a voxel apart.
constexpr int ROUND = 16;

// Each warp takes samples half a voxel apart in 8 x 4 neighbouring rays, as a picture's warps do, over and over in the
// same few voxels. `steps` of each thread, in whole rounds. Volumes of 9 voxels a side or more.
extern "C" __global__ void sample_rate(const Code *__restrict__ codes, cudaTextureObject_t texture, int size_i,
                                       int size_j, int size_k, int steps, float *__restrict__ out) {
    const Voxels voxels{codes, texture, size_i, static_cast<long long>(size_i) * size_j};
    const int warp = static_cast<int>(threadIdx.x) >> 5, lane = static_cast<int>(threadIdx.x) & 31;
    const int block = static_cast<int>(blockIdx.x);
    const float x = (block * 7 + (warp & 1) * 4) % (size_i - 8) + 0.25f + 0.5f * (lane & 7);
    const float y = (block * 5 + (warp >> 1) * 2) % (size_j - 8) + 0.25f + 0.5f * (lane >> 3);
    const float z = block * 3 % (size_k - 8) + 0.25f;
    float total = 0.0f;
    for (int taken = 0; taken < steps; taken += ROUND) {
        // A little further in each round, or the compiler would take the samples once.
        const float at = z + (taken & 255) * (1.0f / 1024.0f);
#pragma unroll
        for (int n = 0; n < ROUND; ++n) total += sample(voxels, x, y, at + 0.5f * n - 0.0625f);
    }
    out[thread_index()] = total;
}

// Reads every word once, neighbouring threads neighbouring words.
extern "C" __global__ void read_rate(const float *__restrict__ words, long long count, float *__restrict__ out) {
    const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
    float total[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    long long at = thread_index();
    for (; at + 3 * stride < count; at += 4 * stride) {
#pragma unroll
        for (int n = 0; n < 4; ++n) total[n] += __ldg(words + at + n * stride);
    }
    for (; at < count; at += stride) total[0] += __ldg(words + at);
    out[thread_index()] = total[0] + total[1] + total[2] + total[3];
}
