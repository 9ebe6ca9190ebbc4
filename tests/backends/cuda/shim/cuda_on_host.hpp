// What the kernels use of CUDA, for a host compiler. A launch runs thread after thread: that is a valid order, since the
// kernels neither synchronise nor share memory. Included before the kernels' own text, by the compiler's command line.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

using std::fmaf, std::isfinite, std::max, std::min;

#define __global__
#define __device__
#define __grid_constant__
#define __align__(bytes) alignas(bytes)

struct uint3 {
    unsigned x, y, z;
};
struct uchar4 {
    unsigned char x, y, z, w;
};
inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) { return {x, y, z, w}; }

inline thread_local uint3 blockIdx, threadIdx, blockDim, gridDim;

// How many voxels and texels the kernels have read: what skipping saves.
inline thread_local long long reads;

template <class T>
inline T __ldg(const T *at) {
    ++reads;
    return *at;
}
inline float __int_as_float(int bits) {
    float result;
    std::memcpy(&result, &bits, sizeof(result));
    return result;
}
// The compiler is told not to contract, so the plain operations are these.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
template <class T>
inline T atomicAdd(T *at, T value) {
    const T before = *at;
    *at += value;
    return before;
}

// A 3D CUDA array with one channel; a texture or surface object is its address.
struct HostArray {
    void *texels;
    std::int32_t size[3];    // i, j, k
    std::int32_t is_uint16;  // read as normalised float; else float32, read as it is
};
using cudaTextureObject_t = unsigned long long;
using cudaSurfaceObject_t = unsigned long long;

inline HostArray &host_array(unsigned long long object) { return *reinterpret_cast<HostArray *>(object); }

struct TexelWeight {
    int before, after;
    float part;
};

// Linear filtering as the CUDA programming guide has it: xB = x - 0.5, i = floor(xB), weights in fixed point with 8 bits,
// 1.0 among them; addresses clamped. The weights are shared out axis by axis and each share rounded, as on an H100. A
// test makes them coarser, to see that this is noticed.
#ifndef FRACTION_STEPS
#define FRACTION_STEPS 256.0f
#endif

inline TexelWeight texel_weight(float x, int size) {
    const float at = x - 0.5f, whole = std::floor(at);
    const int index = static_cast<int>(whole);
    return {std::clamp(index, 0, size - 1), std::clamp(index + 1, 0, size - 1), at - whole};
}

// The share of a weight, in whole steps, that the texel after or before a point has.
inline float share(float weight, float part, bool after) {
    const float behind = std::floor(weight * part + 0.5f);
    return after ? behind : weight - behind;
}

template <class T>
inline T tex3D(cudaTextureObject_t object, float x, float y, float z);

template <>
inline float tex3D<float>(cudaTextureObject_t object, float x, float y, float z) {
    const HostArray &array = host_array(object);
    const TexelWeight wx = texel_weight(x, array.size[0]), wy = texel_weight(y, array.size[1]);
    const TexelWeight wz = texel_weight(z, array.size[2]);
    ++reads;
    double total = 0;
    for (int n = 0; n < 8; ++n) {
        const long long k = n & 4 ? wz.after : wz.before, j = n & 2 ? wy.after : wy.before;
        const long long at = (k * array.size[1] + j) * array.size[0] + (n & 1 ? wx.after : wx.before);
        const float slice = share(FRACTION_STEPS, wz.part, n & 4), row = share(slice, wy.part, n & 2);
        const double weight = share(row, wx.part, n & 1) / FRACTION_STEPS;
        total += weight * (array.is_uint16 ? static_cast<const std::uint16_t *>(array.texels)[at]
                                           : static_cast<const float *>(array.texels)[at]);
    }
    // Cards return what was filtered of a 16-bit format in 16 bits.
    return static_cast<float>(array.is_uint16 ? std::rint(total) / 65535.0 : total);
}

template <class T>
inline void surf3Dwrite(T value, cudaSurfaceObject_t object, int x_bytes, int y, int z) {
    const HostArray &array = host_array(object);
    const long long at = (static_cast<long long>(z) * array.size[1] + y) * array.size[0];
    static_cast<T *>(array.texels)[at + x_bytes / static_cast<int>(sizeof(T))] = value;
}
