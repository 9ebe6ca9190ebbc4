// Volume rendering: front-to-back compositing through a table, shaded or not, to uint8 RGBA premultiplied.
#include "bricks.cuh"
#include "marching.cuh"
#include "parameters.cuh"
#include "rays.cuh"
#include "sampling.cuh"

// A ray ends when it is this opaque: what is left out is at most one step of 8 bits.
constexpr float OPAQUE = 0.996f;

// Opacity for one step, and 11 bits of red, 11 of green, 10 of blue: four times finer than what is shown.
struct __align__(8) Entry {
    float opacity;
    unsigned color;
};

// Factor on a sample's colour and highlight on top, for light at the eye. |n.v| = |g.d| / sqrt(|g|^2 + floor^2), d the
// ray's unit direction in patient space.
__device__ inline void shade(const Parameters &p, const Ray &ray, const Rises &rise, float &factor, float &highlight) {
    const float *m = p.gradient, *d = p.ahead;
    const float gx = fmaf(rise.x, m[0], fmaf(rise.y, m[1], rise.z * m[2]));
    const float gy = fmaf(rise.x, m[3], fmaf(rise.y, m[4], rise.z * m[5]));
    const float gz = fmaf(rise.x, m[6], fmaf(rise.y, m[7], rise.z * m[8]));
    const float ax = fmaf(ray.step_x, d[0], fmaf(ray.step_y, d[1], ray.step_z * d[2]));
    const float ay = fmaf(ray.step_x, d[3], fmaf(ray.step_y, d[4], ray.step_z * d[5]));
    const float az = fmaf(ray.step_x, d[6], fmaf(ray.step_y, d[7], ray.step_z * d[8]));
    const float along = fmaf(gx, ax, fmaf(gy, ay, gz * az));
    const float steep = fmaf(gx, gx, fmaf(gy, gy, fmaf(gz, gz, p.floor2)));
    const float facing = fminf(along * along / steep, 1.0f);
    factor = fmaf(sqrtf(facing), p.diffuse, p.ambient);
    highlight = p.specular * powf(fmaxf(2.0f * facing - 1.0f, 0.0f), p.shininess);
}

__device__ inline unsigned char rounded(float x) { return static_cast<unsigned char>(x + 0.5f); }

__device__ inline Entry entry_of(const Parameters &p, const Entry *table, float value) {
    return table[static_cast<int>(clamped(fmaf(value - p.table_low, p.table_scale, 0.5f), p.table_last))];
}

// What a ray has gathered: premultiplied.
struct Composite {
    float red, green, blue, alpha;
};

// Puts a sample behind what is there; CAREFUL where its neighbours may be outside or invalid.
template <bool SHADED, bool CAREFUL>
__device__ inline void add_sample(const Parameters &p, const Voxels &voxels, const Ray &ray, float k, float value,
                                  const Entry &entry, Composite &sum) {
    if (!(entry.opacity > 0.0f)) return;
    float r = (entry.color >> 21) * (1.0f / 2047.0f);
    float g = (entry.color >> 10 & 2047u) * (1.0f / 2047.0f);
    float b = (entry.color & 1023u) * (1.0f / 1023.0f);
    if (SHADED) {
        const float x = fmaf(ray.step_x, k, ray.x), y = fmaf(ray.step_y, k, ray.y);
        const float z = fmaf(ray.step_z, k, ray.z);
        float factor, highlight;
        const Rises rises = CAREFUL ? careful_rises(voxels, p, x, y, z, value) : plain_rises(voxels, p, x, y, z);
        shade(p, ray, rises, factor, highlight);
        r = fminf(fmaf(r, factor, highlight), 1.0f);
        g = fminf(fmaf(g, factor, highlight), 1.0f);
        b = fminf(fmaf(b, factor, highlight), 1.0f);
    }
    const float part = entry.opacity * (1.0f - sum.alpha);
    sum.red = fmaf(part, r, sum.red);
    sum.green = fmaf(part, g, sum.green);
    sum.blue = fmaf(part, b, sum.blue);
    sum.alpha += part;
}

template <bool SHADED>
__device__ inline void composite_pixel(const Parameters &p, const Voxels &voxels, const unsigned char *fine_flags,
                                       const unsigned char *coarse_flags, const Entry *table, uchar4 *out,
                                       unsigned long long *counts, int row_from, int row_to) {
    int column, row;
    if (!pixel_of_thread(p, row_from, row_to, column, row)) return;
    const Ray ray = enter(p, column, row);
    const float length = p.segment, stretch = p.segment * p.coarse_segments;
    Composite sum{0.0f, 0.0f, 0.0f, 0.0f};
    int taken = 0;
    for (float from = ray.first; from <= ray.last && sum.alpha <= OPAQUE; from += stretch) {
        if (!(coarse_flags[coarse_brick(p, ray, from, from + stretch - 1.0f)] & VISIBLE)) continue;
        const float to = fminf(from + stretch - 1.0f, ray.last);
        for (float begin = from; begin <= to && sum.alpha <= OPAQUE; begin += length) {
            const unsigned flags = fine_flags[fine_brick(p, ray, begin, begin + length - 1.0f)];
            if (!(flags & VISIBLE)) continue;
            const float end = fminf(begin + length - 1.0f, to);
            const bool careful = flags & INVALID || begin < ray.inner_first || end > ray.inner_last;
            if (careful) {
                for (float k = begin; k <= end && sum.alpha <= OPAQUE; k += 1.0f) {
                    ++taken;
                    float value;
                    if (probe(voxels, p, fmaf(ray.step_x, k, ray.x), fmaf(ray.step_y, k, ray.y),
                              fmaf(ray.step_z, k, ray.z), value))
                        add_sample<SHADED, true>(p, voxels, ray, k, value, entry_of(p, table, value), sum);
                }
                continue;
            }
            float k = begin;
            if constexpr (SHADED) {
                for (; k <= end && sum.alpha <= OPAQUE; k += AT_ONCE) {
                    float values[AT_ONCE];
                    sample_several(voxels, ray, k, end, values);
                    // One copy of the shading, which takes most of the registers there are.
#pragma unroll 1
                    for (int n = 0; n < AT_ONCE && k + n <= end && sum.alpha <= OPAQUE; ++n) {
                        ++taken;
                        const float value = picked(values, n);
                        add_sample<true, false>(p, voxels, ray, k + n, value, entry_of(p, table, value), sum);
                    }
                }
            } else {
                for (; k + (AT_ONCE - 1) <= end && sum.alpha <= OPAQUE; k += AT_ONCE) {
                    float values[AT_ONCE];
                    Entry entries[AT_ONCE];
                    sample_several(voxels, ray, k, end, values);
#pragma unroll
                    for (int n = 0; n < AT_ONCE; ++n) entries[n] = entry_of(p, table, values[n]);
#pragma unroll
                    for (int n = 0; n < AT_ONCE; ++n) {
                        if (sum.alpha > OPAQUE) break;
                        ++taken;
                        add_sample<false, false>(p, voxels, ray, k + n, values[n], entries[n], sum);
                    }
                }
                for (; k <= end && sum.alpha <= OPAQUE; k += 1.0f) {
                    ++taken;
                    const float value = sample_at(voxels, ray, k);
                    add_sample<false, false>(p, voxels, ray, k, value, entry_of(p, table, value), sum);
                }
            }
        }
    }
    count_samples(counts, taken, possible_samples(ray));
    const float layer = p.layer_opacity * 255.0f;
    out[pixel_index(p, column, row)] =
        make_uchar4(rounded(sum.red * layer), rounded(sum.green * layer), rounded(sum.blue * layer),
                    rounded(sum.alpha * layer));
}

extern "C" __global__ void composite(const __grid_constant__ Parameters p, const Code *__restrict__ codes,
                                     cudaTextureObject_t texture, const unsigned char *__restrict__ fine_flags,
                                     const unsigned char *__restrict__ coarse_flags,
                                     const Entry *__restrict__ table, uchar4 *__restrict__ out,
                                     unsigned long long *__restrict__ counts, int row_from, int row_to) {
    const Voxels voxels = voxels_of(p, codes, texture);
    composite_pixel<false>(p, voxels, fine_flags, coarse_flags, table, out, counts, row_from, row_to);
}

extern "C" __global__ void composite_shaded(
    const __grid_constant__ Parameters p, const Code *__restrict__ codes, cudaTextureObject_t texture,
    const unsigned char *__restrict__ fine_flags, const unsigned char *__restrict__ coarse_flags,
    const Entry *__restrict__ table, uchar4 *__restrict__ out, unsigned long long *__restrict__ counts, int row_from,
    int row_to) {
    const Voxels voxels = voxels_of(p, codes, texture);
    composite_pixel<true>(p, voxels, fine_flags, coarse_flags, table, out, counts, row_from, row_to);
}
