// What happens once a volume: bricks, histogram, the texture's copy; and once a transfer function: the bricks' flags.
// Built for one type of code. All are launched with blocks of 128 threads in one dimension, as many as are needed.
#include "bricks.cuh"
#include "sampling.cuh"

// Voxels along each side of the finest bricks.
constexpr int BRICK = 8;

__device__ inline long long thread_index() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }

// Beyond every code, or the outermost one.
__device__ inline Code highest() {
#if VOXELCAST_INT16
    return 32767;
#else
    return __int_as_float(0x7f800000);
#endif
}

__device__ inline Code lowest() { return static_cast<Code>(-highest() - (VOXELCAST_INT16 ? 1 : 0)); }

// Marks voxels as missing: the invalid code, or NaN. One thread a voxel.
extern "C" __global__ void mark(Code *__restrict__ codes, long long count, int invalid_code) {
    const long long index = thread_index();
    if (index >= count) return;
#if VOXELCAST_INT16
    codes[index] = static_cast<Code>(invalid_code);
#else
    codes[index] = __int_as_float(0x7fc00000);
#endif
}

// Bounds of the finest bricks alone, layers layer_from to layer_to - 1 of `low`, `high` and `flags` (INVALID, EMPTY).
// One thread a brick. The voxels of those layers must have arrived. A brick without a valid voxel has low > high.
extern "C" __global__ void bricks(const Code *__restrict__ codes, int size_i, int size_j, int size_k, int invalid_code,
                                  Code *__restrict__ low, Code *__restrict__ high, unsigned char *__restrict__ flags,
                                  int layer_from, int layer_to) {
    const int columns = (size_i + BRICK - 1) / BRICK, lines = (size_j + BRICK - 1) / BRICK;
    const long long brick = static_cast<long long>(layer_from) * lines * columns + thread_index();
    if (brick >= static_cast<long long>(layer_to) * lines * columns) return;
    const int i0 = static_cast<int>(brick % columns) * BRICK, j0 = static_cast<int>(brick / columns % lines) * BRICK;
    const int k0 = static_cast<int>(brick / (static_cast<long long>(columns) * lines)) * BRICK;
    Code least = highest(), most = lowest();
    bool bad = false, good = false;
    for (int k = k0; k < min(k0 + BRICK, size_k); ++k)
        for (int j = j0; j < min(j0 + BRICK, size_j); ++j) {
            const Code *row = codes + (static_cast<long long>(k) * size_j + j) * size_i;
            for (int i = i0; i < min(i0 + BRICK, size_i); ++i) {
                const Code code = row[i];
#if VOXELCAST_INT16
                const bool invalid = code == invalid_code;
#else
                const bool invalid = !isfinite(code);
#endif
                bad = bad || invalid;
                good = good || !invalid;
                if (!invalid && code < least) least = code;
                if (!invalid && code > most) most = code;
            }
        }
    low[brick] = least;
    high[brick] = most;
    flags[brick] = (bad ? INVALID : 0u) | (good ? 0u : EMPTY);
}

// Joins cells i to i + 1 along each axis, from `stride` times the target's index on; those beyond the source are left
// out. With stride 1 each brick's bounds are widened by its next neighbours; with 2 the grid is halved.
__device__ inline void join(const Code *low, const Code *high, const unsigned char *flags, int size_i, int size_j,
                            int size_k, int stride, Code *out_low, Code *out_high, unsigned char *out_flags) {
    const int columns = (size_i + stride - 1) / stride, lines = (size_j + stride - 1) / stride;
    const int layers = (size_k + stride - 1) / stride;
    const long long cell = thread_index();
    if (cell >= static_cast<long long>(layers) * lines * columns) return;
    const int i0 = static_cast<int>(cell % columns) * stride, j0 = static_cast<int>(cell / columns % lines) * stride;
    const int k0 = static_cast<int>(cell / (static_cast<long long>(columns) * lines)) * stride;
    Code least = highest(), most = lowest();
    unsigned any = 0, all = EMPTY;
    for (int k = k0; k < min(k0 + 2, size_k); ++k)
        for (int j = j0; j < min(j0 + 2, size_j); ++j)
            for (int i = i0; i < min(i0 + 2, size_i); ++i) {
                const long long at = (static_cast<long long>(k) * size_j + j) * size_i + i;
                least = min(least, low[at]);
                most = max(most, high[at]);
                any |= flags[at];
                all &= flags[at];
            }
    out_low[cell] = least;
    out_high[cell] = most;
    out_flags[cell] = (any & INVALID) | all;
}

// `size_*`: bricks of the source. The target has as many.
extern "C" __global__ void widen(const Code *__restrict__ low, const Code *__restrict__ high,
                                 const unsigned char *__restrict__ flags, int size_i, int size_j, int size_k,
                                 Code *__restrict__ out_low, Code *__restrict__ out_high,
                                 unsigned char *__restrict__ out_flags) {
    join(low, high, flags, size_i, size_j, size_k, 1, out_low, out_high, out_flags);
}

// `size_*`: bricks of the source. The target has half as many, rounded up.
extern "C" __global__ void halve(const Code *__restrict__ low, const Code *__restrict__ high,
                                 const unsigned char *__restrict__ flags, int size_i, int size_j, int size_k,
                                 Code *__restrict__ out_low, Code *__restrict__ out_high,
                                 unsigned char *__restrict__ out_flags) {
    join(low, high, flags, size_i, size_j, size_k, 2, out_low, out_high, out_flags);
}

// Counts the codes of every `stride`-th row, rows being numbered through all slices, into `bins` counters, which the
// caller has set to 0. int16: one a code, from -32768; invalid codes are counted like others. float32: by
// (code - low) * per_bin; what is not finite, and `low` itself, is left out. One thread a voxel of those rows.
extern "C" __global__ void histogram(const Code *__restrict__ codes, int size_i, long long rows, int stride, double low,
                                     double per_bin, int bins, unsigned *__restrict__ counts) {
    const long long index = thread_index(), row = index / size_i * stride;
    if (row >= rows) return;
    const Code code = codes[row * size_i + index % size_i];
#if VOXELCAST_INT16
    atomicAdd(counts + (code + 32768), 1u);
#else
    if (code == static_cast<float>(low) || !isfinite(code)) return;
    const double bin = (code - low) * per_bin;
    atomicAdd(counts + min(max(static_cast<int>(bin), 0), bins - 1), 1u);
#endif
}

// Flags of a level's bricks under a transfer function: VISIBLE where an entry between the bounds has opacity;
// INVALID as it was. `cumulated[n]` counts the entries with opacity before n, so one subtraction answers for a range.
// The range is one entry wider at both ends than the rounding of the kernels can reach.
extern "C" __global__ void visible(const Code *__restrict__ low, const Code *__restrict__ high,
                                   const unsigned char *__restrict__ flags, int count,
                                   const int *__restrict__ cumulated, float table_low, float table_scale,
                                   float table_last, unsigned char *__restrict__ out) {
    const long long brick = thread_index();
    if (brick >= count) return;
    unsigned flag = flags[brick] & INVALID;
    if (!(flags[brick] & EMPTY)) {
        const int end = static_cast<int>(table_last);
        const int least = static_cast<int>(clamped(fmaf(low[brick] - table_low, table_scale, 0.5f), table_last));
        const int most = static_cast<int>(clamped(fmaf(high[brick] - table_low, table_scale, 0.5f), table_last));
        if (cumulated[min(most + 1, end) + 1] > cumulated[max(least - 1, 0)]) flag |= VISIBLE;
    }
    out[brick] = flag;
}

// Copies slices slice_from to slice_to - 1 into the CUDA array behind the texture: float32 as it is, int16 as uint16
// 32768 above, since the normalised signed format can't tell -32768 from -32767. One thread a voxel.
extern "C" __global__ void texels(const Code *__restrict__ codes, int size_i, int size_j, int slice_from, int slice_to,
                                  cudaSurfaceObject_t surface) {
    const long long index = static_cast<long long>(slice_from) * size_j * size_i + thread_index();
    if (index >= static_cast<long long>(slice_to) * size_j * size_i) return;
    const int i = static_cast<int>(index % size_i), j = static_cast<int>(index / size_i % size_j);
    const int k = static_cast<int>(index / (static_cast<long long>(size_i) * size_j));
#if VOXELCAST_INT16
    const unsigned short texel = static_cast<unsigned short>(codes[index] + 32768);
#else
    const float texel = codes[index];
#endif
    surf3Dwrite(texel, surface, i * static_cast<int>(sizeof(texel)), j, k);
}
