// Kernels that give values, float32 in modality units, NaN outside: one sample a ray, the extreme and the mean of the
// samples along a ray. Each draws rows row_from to row_to - 1 of `out`, which is the whole picture.
#include "bricks.cuh"
#include "marching.cuh"
#include "parameters.cuh"
#include "rays.cuh"
#include "sampling.cuh"

__device__ inline float not_a_number() { return __int_as_float(0x7fc00000); }

// One sample a ray, on the plane.
extern "C" __global__ void thin(const __grid_constant__ Parameters p, const Code *__restrict__ codes,
                                cudaTextureObject_t texture, const unsigned char *__restrict__ flags,
                                float *__restrict__ out, unsigned long long *__restrict__ counts, int row_from,
                                int row_to) {
    int column, row;
    if (!pixel_of_thread(p, row_from, row_to, column, row)) return;
    const Voxels voxels = voxels_of(p, codes, texture);
    const Line line = line_of(p, column, row);
    const float x = static_cast<float>(line.x), y = static_cast<float>(line.y), z = static_cast<float>(line.z);
    const float face = -0.5f - FACE_TOLERANCE;
    const float last_x = p.size[0] - 1, last_y = p.size[1] - 1, last_z = p.size[2] - 1;
    float result = not_a_number();
    if (x >= face && y >= face && z >= face && x <= last_x - face && y <= last_y - face && z <= last_z - face) {
        bool careful = false;
#if !VOXELCAST_TEXTURE
        careful = fminf(fminf(x, y), z) < p.margin || x > last_x - p.margin || y > last_y - p.margin ||
                  z > last_z - p.margin;
#endif
        if (p.has_invalid && !careful) {
            const Ray still{x, y, z, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
            careful = flags[fine_brick(p, still, 0.0f, 0.0f)] & INVALID;
        }
        float value;
        bool valid = true;
        if (careful)
            valid = probe(voxels, p, x, y, z, value);
        else
            value = sample(voxels, x, y, z);
        if (valid) result = fmaf(value, p.scale, p.offset);
        count_samples(counts, 1, 1);
    }
    out[pixel_index(p, column, row)] = result;
}

// Whether a segment with this bound may hold more than a ray has. What the texture unit gives for a region of one value
// may be a rounding off that value; it would be sampled throughout for nothing.
__device__ inline bool exceeds(float bound, float best) {
#if !VOXELCAST_TEXTURE
    return bound > best;
#elif VOXELCAST_INT16
    return bound > best + 1.0f / 64.0f;
#else
    return bound > fmaf(fabsf(best), 1.0f / 1048576.0f, best);
#endif
}

// Maximum along each ray, or the minimum, which is the maximum of what is negated (`sign`). `fine_bounds` and
// `coarse_bounds` are the bricks' greatest codes, or their least. A segment is left out if its bound does not exceed
// what the ray has already; the one with the highest bound goes first, so that most others fall.
extern "C" __global__ void extreme(const __grid_constant__ Parameters p, const Code *__restrict__ codes,
                                   cudaTextureObject_t texture, const Code *__restrict__ fine_bounds,
                                   const unsigned char *__restrict__ fine_flags,
                                   const Code *__restrict__ coarse_bounds,
                                   const unsigned char *__restrict__ coarse_flags, float *__restrict__ out,
                                   unsigned long long *__restrict__ counts, int row_from, int row_to) {
    int column, row;
    if (!pixel_of_thread(p, row_from, row_to, column, row)) return;
    const Voxels voxels = voxels_of(p, codes, texture);
    const Ray ray = enter(p, column, row);
    const float length = p.segment, stretch = p.segment * p.coarse_segments;
    float likeliest = ray.first, highest = -HUGE_K, best = -HUGE_K;
    int taken = 0;
    for (float from = ray.first; from <= ray.last; from += stretch) {
        const int around = coarse_brick(p, ray, from, from + stretch - 1.0f);
        if (coarse_flags[around] & EMPTY || !(p.sign * coarse_bounds[around] > highest)) continue;
        const float to = fminf(from + stretch - 1.0f, ray.last);
        for (float begin = from; begin <= to; begin += length) {
            const int brick = fine_brick(p, ray, begin, begin + length - 1.0f);
            const float bound = p.sign * fine_bounds[brick];
            if (fine_flags[brick] & EMPTY || !(bound > highest)) continue;
            highest = bound;
            likeliest = begin;
        }
    }
    for (int turn = -1;; ++turn) {
        const float from = turn < 0 ? likeliest : ray.first + turn * stretch;
        if (from > ray.last) break;
        const int around = coarse_brick(p, ray, from, from + stretch - 1.0f);
        if (coarse_flags[around] & EMPTY || !exceeds(p.sign * coarse_bounds[around], best)) continue;
        const float to = fminf(from + (turn < 0 ? length : stretch) - 1.0f, ray.last);
        for (float begin = from; begin <= to; begin += length) {
            if (turn >= 0 && begin == likeliest) continue;
            const float end = fminf(begin + length - 1.0f, to);
            const int brick = fine_brick(p, ray, begin, begin + length - 1.0f);
            const unsigned flags = fine_flags[brick];
            if (flags & EMPTY || !exceeds(p.sign * fine_bounds[brick], best)) continue;
            taken += static_cast<int>(end - begin) + 1;
            if (flags & INVALID || begin < ray.inner_first || end > ray.inner_last) {
                for (float k = begin; k <= end; k += 1.0f) {
                    float value;
                    const bool valid = probe(voxels, p, fmaf(ray.step_x, k, ray.x), fmaf(ray.step_y, k, ray.y),
                                             fmaf(ray.step_z, k, ray.z), value);
                    if (valid) best = fmaxf(best, p.sign * value);
                }
            } else {
                float k = begin;
                for (; k + (AT_ONCE - 1) <= end; k += AT_ONCE) {
                    float values[AT_ONCE];
                    sample_several(voxels, ray, k, end, values);
#pragma unroll
                    for (int n = 0; n < AT_ONCE; ++n) best = fmaxf(best, p.sign * values[n]);
                }
                for (; k <= end; k += 1.0f) best = fmaxf(best, p.sign * sample_at(voxels, ray, k));
            }
        }
    }
    count_samples(counts, taken, possible_samples(ray));
    out[pixel_index(p, column, row)] = best > -HUGE_K ? fmaf(p.sign * best, p.scale, p.offset) : not_a_number();
}

// A float32 sum of thousands of samples that loses nothing worth mentioning (Kahan).
struct Sum {
    float total, lost;

    __device__ void add(float value) {
        const float corrected = __fsub_rn(value, lost);
        const float next = __fadd_rn(total, corrected);
        lost = __fsub_rn(__fsub_rn(next, total), corrected);
        total = next;
    }
};

// Mean of the samples inside along each ray. Segments of one constant value are added without sampling.
extern "C" __global__ void mean(const __grid_constant__ Parameters p, const Code *__restrict__ codes,
                                cudaTextureObject_t texture, const Code *__restrict__ fine_low,
                                const Code *__restrict__ fine_high, const unsigned char *__restrict__ fine_flags,
                                const Code *__restrict__ coarse_low, const Code *__restrict__ coarse_high,
                                const unsigned char *__restrict__ coarse_flags, float *__restrict__ out,
                                unsigned long long *__restrict__ counts, int row_from, int row_to) {
    int column, row;
    if (!pixel_of_thread(p, row_from, row_to, column, row)) return;
    const Voxels voxels = voxels_of(p, codes, texture);
    const Ray ray = enter(p, column, row);
    const float length = p.segment, stretch = p.segment * p.coarse_segments;
    Sum sum{0.0f, 0.0f};
    float inside = 0.0f;
    int taken = 0;
    for (float from = ray.first; from <= ray.last; from += stretch) {
        const float to = fminf(from + stretch - 1.0f, ray.last);
        const int around = coarse_brick(p, ray, from, from + stretch - 1.0f);
        const unsigned all = coarse_flags[around];
        if (all & EMPTY) continue;
        if (!(all & INVALID) && coarse_low[around] == coarse_high[around]) {
            sum.add(coarse_low[around] * (to - from + 1.0f));
            inside += to - from + 1.0f;
            continue;
        }
        for (float begin = from; begin <= to; begin += length) {
            const float end = fminf(begin + length - 1.0f, to);
            const int brick = fine_brick(p, ray, begin, begin + length - 1.0f);
            const unsigned flags = fine_flags[brick];
            if (flags & EMPTY) continue;
            float part = 0.0f;
            if (!(flags & INVALID) && fine_low[brick] == fine_high[brick]) {
                part = fine_low[brick] * (end - begin + 1.0f);
                inside += end - begin + 1.0f;
            } else if (flags & INVALID || begin < ray.inner_first || end > ray.inner_last) {
                taken += static_cast<int>(end - begin) + 1;
                for (float k = begin; k <= end; k += 1.0f) {
                    float value;
                    const bool valid = probe(voxels, p, fmaf(ray.step_x, k, ray.x), fmaf(ray.step_y, k, ray.y),
                                             fmaf(ray.step_z, k, ray.z), value);
                    part += valid ? value : 0.0f;
                    inside += valid ? 1.0f : 0.0f;
                }
            } else {
                taken += static_cast<int>(end - begin) + 1;
                float k = begin;
                for (; k + (AT_ONCE - 1) <= end; k += AT_ONCE) {
                    float values[AT_ONCE];
                    sample_several(voxels, ray, k, end, values);
#pragma unroll
                    for (int n = 0; n < AT_ONCE; ++n) part += values[n];
                }
                for (; k <= end; k += 1.0f) part += sample_at(voxels, ray, k);
                inside += end - begin + 1.0f;
            }
            sum.add(part);
        }
    }
    count_samples(counts, taken, possible_samples(ray));
    out[pixel_index(p, column, row)] =
        inside > 0.0f ? fmaf(sum.total / inside, p.scale, p.offset) : not_a_number();
}
