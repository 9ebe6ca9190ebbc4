// Reading the volume: trilinear samples and what a gradient needs.
//
// Built for one type of code (VOXELCAST_INT16: int16, else float32) and one way to sample (VOXELCAST_TEXTURE):
// 0: float32 arithmetic on linear memory, for everything called final or a measured value;
// 1: the texture unit, whose weights have 8 fractional bits, for frames that are to be quick.
// Either way `probe`, which holds at faces and next to invalid voxels, is exact.
#pragma once
#include "parameters.cuh"

#if VOXELCAST_INT16
using Code = short;
#else
using Code = float;
#endif

// Voxels. A sample this near a voxel's centre needs no neighbour along it.
constexpr float WHOLE_TOLERANCE = 1.0f / 16384.0f;

// What a kernel reads voxels from: int16 or float32 codes, row by row, and the same behind a texture object (0 where
// the kernel is built without).
struct Voxels {
    const Code *codes;
    cudaTextureObject_t texture;
    int row;
    long long slab;
};

__device__ inline Voxels voxels_of(const Parameters &p, const Code *codes, cudaTextureObject_t texture) {
    return Voxels{codes, texture, p.size[0], static_cast<long long>(p.size[0]) * p.size[1]};
}

__device__ inline float lerp(float a, float b, float t) { return fmaf(t, b - a, a); }

__device__ inline float clamped(float x, float high) { return fminf(fmaxf(x, 0.0f), high); }

__device__ inline bool is_invalid(float code, const Parameters &p) {
#if VOXELCAST_INT16
    return code == static_cast<float>(p.invalid_code);
#else
    return !isfinite(code);
#endif
}

#if VOXELCAST_TEXTURE
// Edge values are held by the texture's clamped addressing, so this reads anywhere.
__device__ inline float sample(const Voxels &v, float x, float y, float z) {
    const float texel = tex3D<float>(v.texture, x + 0.5f, y + 0.5f, z + 0.5f);
#if VOXELCAST_INT16
    return fmaf(texel, 65535.0f, -32768.0f);  // texels are uint16, 32768 above the codes, read as 0 to 1
#else
    return texel;
#endif
}
#else
// Must lie within the outermost voxel centres, a little off the last.
__device__ inline float sample(const Voxels &v, float x, float y, float z) {
    const int i = static_cast<int>(x), j = static_cast<int>(y), k = static_cast<int>(z);
    const float fx = x - i, fy = y - j, fz = z - k;
    const Code *near = v.codes + (k * v.slab + static_cast<long long>(j) * v.row + i);
    const Code *far = near + v.slab;
    const float a = lerp(__ldg(near), __ldg(near + 1), fx);
    const float b = lerp(__ldg(near + v.row), __ldg(near + v.row + 1), fx);
    const float c = lerp(__ldg(far), __ldg(far + 1), fx);
    const float d = lerp(__ldg(far + v.row), __ldg(far + v.row + 1), fx);
    return lerp(lerp(a, b, fy), lerp(c, d, fy), fz);
}
#endif

// The two voxels around a sample, or twice the same one where the other has no weight to speak of, so that a plane
// through the centres of a slice shows it, whether or not the next slice is there.
__device__ inline void corners_axis(float x, int size, int &before, int &after, float &fraction) {
    const int index = static_cast<int>(x);
    fraction = x - index;
    const int next = min(index + 1, size - 1);
    before = fraction > 1.0f - WHOLE_TOLERANCE ? next : index;
    after = fraction < WHOLE_TOLERANCE ? index : next;
}

// A sample anywhere, edge values held; false if one of its eight voxels is invalid.
__device__ inline bool probe(const Voxels &v, const Parameters &p, float x, float y, float z, float &value) {
    int i0, i1, j0, j1, k0, k1;
    float fx, fy, fz;
    corners_axis(clamped(x, p.size[0] - 1), p.size[0], i0, i1, fx);
    corners_axis(clamped(y, p.size[1] - 1), p.size[1], j0, j1, fy);
    corners_axis(clamped(z, p.size[2] - 1), p.size[2], k0, k1, fz);
    bool bad = false;
    float plane[2];
    for (int n = 0; n < 2; ++n) {
        const Code *slab = v.codes + (n ? k1 : k0) * v.slab;
        const Code *upper = slab + static_cast<long long>(j0) * v.row, *lower = slab + static_cast<long long>(j1) * v.row;
        const float a = __ldg(upper + i0), b = __ldg(upper + i1), c = __ldg(lower + i0), d = __ldg(lower + i1);
        bad = bad || is_invalid(a, p) || is_invalid(b, p) || is_invalid(c, p) || is_invalid(d, p);
        plane[n] = lerp(lerp(a, b, fx), lerp(c, d, fx), fy);
    }
    value = lerp(plane[0], plane[1], fz);
    return !bad;
}

// Differences of a sample's neighbours along i, j and k.
struct Rises {
    float x, y, z;
};

// Anywhere: neighbours are held at the faces; an invalid one has the sample's own value.
__device__ inline Rises careful_rises(const Voxels &v, const Parameters &p, float x, float y, float z, float own) {
    float rise[3];
    for (int axis = 0; axis < 3; ++axis) {
        const float dx = axis == 0 ? p.probe[0] : 0.0f, dy = axis == 1 ? p.probe[1] : 0.0f;
        const float dz = axis == 2 ? p.probe[2] : 0.0f;
        float after, before;
        const bool after_valid = probe(v, p, x + dx, y + dy, z + dz, after);
        const bool before_valid = probe(v, p, x - dx, y - dy, z - dz, before);
        rise[axis] = (after_valid ? after : own) - (before_valid ? before : own);
    }
    return Rises{rise[0], rise[1], rise[2]};
}

#if VOXELCAST_TEXTURE
__device__ inline Rises plain_rises(const Voxels &v, const Parameters &p, float x, float y, float z) {
    return Rises{sample(v, x + p.probe[0], y, z) - sample(v, x - p.probe[0], y, z),
                 sample(v, x, y + p.probe[1], z) - sample(v, x, y - p.probe[1], z),
                 sample(v, x, y, z + p.probe[2]) - sample(v, x, y, z - p.probe[2])};
}
#else
// The hat function's weights of three voxels at 0, 1, 2 for a point at u, 0 to 2.
struct Weights {
    float first, middle, last;
};

__device__ inline Weights hats(float u) {
    const float first = fmaxf(1.0f - u, 0.0f), last = fmaxf(u - 1.0f, 0.0f);
    return Weights{first, 1.0f - first - last, last};
}

__device__ inline Weights rise_weights(float u, float reach) {
    const Weights before = hats(u - reach), after = hats(u + reach);
    const float first = after.first - before.first, last = after.last - before.last;
    return Weights{first, -first - last, last};
}

__device__ inline float weighted(const Weights &w, float a, float b, float c) {
    return fmaf(a, w.first, fmaf(b, w.middle, c * w.last));
}

// A central difference reaches at most half a voxel, so a sample and its six neighbours read within 3 x 3 x 3 voxels.
// Interpolation is a sum with the hat function as weight, and separable: 27 loads where six more samples take 48.
__device__ inline Rises plain_rises(const Voxels &v, const Parameters &p, float x, float y, float z) {
    const int i = static_cast<int>(x - 0.5f), j = static_cast<int>(y - 0.5f), k = static_cast<int>(z - 0.5f);
    const Weights wx = hats(x - i), wy = hats(y - j), wz = hats(z - k);
    const Weights dx = rise_weights(x - i, p.probe[0]), dy = rise_weights(y - j, p.probe[1]);
    const Weights dz = rise_weights(z - k, p.probe[2]);
    const Code *slab = v.codes + (k * v.slab + static_cast<long long>(j) * v.row + i);
    float along_x[3], along_y[3], along_z[3];
#pragma unroll
    for (int n = 0; n < 3; ++n) {
        float value[3], rise[3];
#pragma unroll
        for (int m = 0; m < 3; ++m) {
            const Code *at = slab + n * v.slab + m * v.row;
            const float a = __ldg(at), b = __ldg(at + 1), c = __ldg(at + 2);
            value[m] = weighted(wx, a, b, c);
            rise[m] = weighted(dx, a, b, c);
        }
        along_x[n] = weighted(wy, rise[0], rise[1], rise[2]);
        along_y[n] = weighted(dy, value[0], value[1], value[2]);
        along_z[n] = weighted(wy, value[0], value[1], value[2]);
    }
    return Rises{weighted(wz, along_x[0], along_x[1], along_x[2]), weighted(wz, along_y[0], along_y[1], along_y[2]),
                 weighted(dz, along_z[0], along_z[1], along_z[2])};
}
#endif
