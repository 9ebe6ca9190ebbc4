// The ray of a pixel, and where along it there is something to sample.
#pragma once
#include "parameters.cuh"

// Beyond every sample.
constexpr float HUGE_K = 3e38f;
// Voxels a step: a ray slower than this along an axis is parallel to it.
constexpr float PARALLEL = 1e-12f;
// Voxels. A sample this little beyond a face is inside: float32 can't tell it from one on the face.
constexpr float FACE_TOLERANCE = 1e-4f;

// Samples to either side of a volume's middle. Beyond, float32 would count in steps of more than one and a loop would
// not end; a ray of a volume with voxels in proportion has a few thousand.
constexpr float LONGEST = 8388608.0f;

// A block of 128 threads draws 16 x 8 pixels, each warp 8 x 4 of them: neighbours read neighbouring voxels.
constexpr int BLOCK_WIDTH = 16, BLOCK_HEIGHT = 8;

// Sample k lies at (x, y, z) + step * k; those from `first` to `last` count, and those from `inner_first` to
// `inner_last` may be read without checks. A ray that misses has first > last.
struct Ray {
    float x, y, z, step_x, step_y, step_z;
    float first, last, inner_first, inner_last;
};

__device__ inline bool pixel_of_thread(const Parameters &p, int row_from, int row_to, int &column, int &row) {
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    column = blockIdx.x * BLOCK_WIDTH + (warp & 1) * 8 + (lane & 7);
    row = row_from + blockIdx.y * BLOCK_HEIGHT + (warp >> 1) * 4 + (lane >> 3);
    return column < p.width && row < row_to;
}

__device__ inline long long pixel_index(const Parameters &p, int column, int row) {
    return static_cast<long long>(row) * p.width + column;
}

__device__ inline void clip_axis(float x, float step, float low, float high, float &first, float &last) {
    const float slope = fabsf(step) < PARALLEL ? PARALLEL : step;
    const float a = (low - x) / slope, b = (high - x) / slope;
    first = fmaxf(first, fminf(a, b));
    last = fminf(last, fmaxf(a, b));
}

__device__ inline double pixel_axis(const double *first, const Parameters &p, int axis, int column, int row) {
    return first[axis] + column * p.column[axis] + row * p.row[axis];
}

// A pixel's point and the step of its samples, voxels; `before_eye` is the first k before the eye. In float64: a few
// operations a ray, and the only place where large numbers cancel.
struct Line {
    double x, y, z, step_x, step_y, step_z, before_eye;
};

__device__ inline Line line_of(const Parameters &p, int column, int row) {
    Line line{pixel_axis(p.origin, p, 0, column, row),
              pixel_axis(p.origin, p, 1, column, row),
              pixel_axis(p.origin, p, 2, column, row),
              p.step[0],
              p.step[1],
              p.step[2],
              -HUGE_K};
    if (p.perspective) {
        const double u = p.eye_right_mm + column * p.spacing_right_mm;
        const double v = p.eye_down_mm + row * p.spacing_down_mm;
        const double steps = sqrt(u * u + v * v + p.eye_distance2_mm2) / p.step_mm;
        line.step_x = pixel_axis(p.eye, p, 0, column, row) / steps;
        line.step_y = pixel_axis(p.eye, p, 1, column, row) / steps;
        line.step_z = pixel_axis(p.eye, p, 2, column, row) / steps;
        line.x += line.step_x * p.lattice;
        line.y += line.step_y * p.lattice;
        line.z += line.step_z * p.lattice;
        // Strictly before the eye: the sample in the eye itself has no direction.
        line.before_eye = floor(-steps - p.lattice) + 1.0;
    }
    return line;
}

// A pixel's ray, clipped to the volume and the slab. Its k counts from the sample nearest to the volume's middle,
// wherever the picture's plane is: so it stays small, where float32 counts exactly.
__device__ inline Ray enter(const Parameters &p, int column, int row) {
    const Line line = line_of(p, column, row);
    const double step_x = line.step_x, step_y = line.step_y, step_z = line.step_z;
    const double to_middle = (0.5 * (p.size[0] - 1) - line.x) * step_x + (0.5 * (p.size[1] - 1) - line.y) * step_y +
                             (0.5 * (p.size[2] - 1) - line.z) * step_z;
    const double middle = rint(to_middle / (step_x * step_x + step_y * step_y + step_z * step_z));
    Ray ray{static_cast<float>(line.x + step_x * middle),
            static_cast<float>(line.y + step_y * middle),
            static_cast<float>(line.z + step_z * middle),
            static_cast<float>(step_x),
            static_cast<float>(step_y),
            static_cast<float>(step_z),
            0.0f,
            0.0f,
            -HUGE_K,
            HUGE_K};
    float first = static_cast<float>(fmax(p.first, line.before_eye) - middle);
    float last = static_cast<float>(p.last - middle);
    const float low = -0.5f - FACE_TOLERANCE, high = -0.5f + FACE_TOLERANCE;
    clip_axis(ray.x, ray.step_x, low, p.size[0] + high, first, last);
    clip_axis(ray.y, ray.step_y, low, p.size[1] + high, first, last);
    clip_axis(ray.z, ray.step_z, low, p.size[2] + high, first, last);
    ray.first = fmaxf(ceilf(first), -LONGEST);
    ray.last = fminf(floorf(last), LONGEST);
#if !VOXELCAST_TEXTURE
    const float side_x = p.size[0] - 1 - p.margin, side_y = p.size[1] - 1 - p.margin, side_z = p.size[2] - 1 - p.margin;
    if (side_x < p.margin || side_y < p.margin || side_z < p.margin) {
        // Too thin to have an inside: clip_axis would take its faces for each other.
        ray.inner_first = HUGE_K;
        ray.inner_last = -HUGE_K;
    } else {
        first = ray.first;
        last = ray.last;
        clip_axis(ray.x, ray.step_x, p.margin, side_x, first, last);
        clip_axis(ray.y, ray.step_y, p.margin, side_y, first, last);
        clip_axis(ray.z, ray.step_z, p.margin, side_z, first, last);
        ray.inner_first = ceilf(first);
        ray.inner_last = floorf(last);
    }
#endif
    return ray;
}

// Two counters, of samples taken and of samples possible, in so many places: a place is shared by few enough blocks
// that they hardly wait for each other. The host adds the places up.
constexpr int COUNT_PLACES = 256;

__device__ inline void count_samples(unsigned long long *counts, int taken, int possible) {
    if (possible <= 0) return;
    unsigned long long *place = counts + 2 * ((blockIdx.y * gridDim.x + blockIdx.x) % COUNT_PLACES);
    atomicAdd(place, static_cast<unsigned long long>(taken));
    atomicAdd(place + 1, static_cast<unsigned long long>(possible));
}

// Samples of a ray within the volume, the slab and in front of the eye.
__device__ inline int possible_samples(const Ray &ray) { return static_cast<int>(ray.last - ray.first) + 1; }
