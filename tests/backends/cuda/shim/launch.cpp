// The kernels' own files, and for each kernel a function that launches it on the host, as cuLaunchKernel does: with a
// grid, a block, and the addresses of the arguments.
#include <cstddef>
#include <tuple>
#include <utility>

#include "color.cu"
#include "upload.cu"
#include "values.cu"
namespace ceilings {
#include "ceilings.cu"
}
namespace picture {
#include "picture.cu"
}

template <class... Arguments, std::size_t... N>
void run(void (*kernel)(Arguments...), const unsigned *grid, const unsigned *block, void **arguments,
         std::index_sequence<N...>) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
                for (threadIdx.z = 0; threadIdx.z < block[2]; ++threadIdx.z)
                    for (threadIdx.y = 0; threadIdx.y < block[1]; ++threadIdx.y)
                        for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x)
                            kernel(*static_cast<std::remove_cv_t<Arguments> *>(arguments[N])...);
}

// Fills `sizes` with the arguments' sizes in bytes and returns how many there are.
template <class... Arguments>
int measure(void (*)(Arguments...), int *sizes) {
    ((*sizes++ = static_cast<int>(sizeof(Arguments))), ...);
    return sizeof...(Arguments);
}

template <class... Arguments>
void launch(void (*kernel)(Arguments...), const unsigned *grid, const unsigned *block, void **arguments) {
    run(kernel, grid, block, arguments, std::index_sequence_for<Arguments...>());
}

#define EXPORT(name, kernel)                                                                              \
    extern "C" void launch_##name(const unsigned *grid, const unsigned *block, void **arguments) {        \
        launch(kernel, grid, block, arguments);                                                           \
    }                                                                                                     \
    extern "C" int measure_##name(int *sizes) { return measure(kernel, sizes); }

EXPORT(thin, thin)
EXPORT(extreme, extreme)
EXPORT(mean, mean)
EXPORT(composite, composite)
EXPORT(composite_shaded, composite_shaded)
EXPORT(mark, mark)
EXPORT(bricks, bricks)
EXPORT(widen, widen)
EXPORT(halve, halve)
EXPORT(histogram, histogram)
EXPORT(visible, visible)
EXPORT(texels, texels)
EXPORT(sample_rate, ceilings::sample_rate)
EXPORT(read_rate, ceilings::read_rate)
EXPORT(gray8, picture::gray8)
EXPORT(gray8_by_table, picture::gray8_by_table)
EXPORT(join_channels, picture::join_channels)
EXPORT(rgb, picture::rgb)
EXPORT(shrink, picture::shrink)
EXPORT(enlarge_values, picture::enlarge_values)
EXPORT(enlarge_color, picture::enlarge_color)

struct Field {
    const char *name;
    int offset, bytes;
};

#define FIELD(name) Field{#name, offsetof(Parameters, name), sizeof(Parameters::name)}

constexpr Field FIELDS[] = {
    FIELD(origin),           FIELD(column),           FIELD(row),
    FIELD(step),             FIELD(eye),              FIELD(eye_right_mm),
    FIELD(eye_down_mm),      FIELD(spacing_right_mm), FIELD(spacing_down_mm),
    FIELD(eye_distance2_mm2), FIELD(step_mm),         FIELD(lattice),
    FIELD(first),            FIELD(last),             FIELD(scale),
    FIELD(offset),           FIELD(sign),             FIELD(table_low),
    FIELD(table_scale),      FIELD(table_last),       FIELD(layer_opacity),
    FIELD(ambient),          FIELD(diffuse),          FIELD(specular),
    FIELD(shininess),        FIELD(floor2),           FIELD(probe),
    FIELD(gradient),         FIELD(ahead),            FIELD(margin),
    FIELD(reach),            FIELD(fine_per_voxel),   FIELD(coarse_per_voxel),
    FIELD(perspective),      FIELD(width),            FIELD(height),
    FIELD(size),             FIELD(invalid_code),     FIELD(has_invalid),
    FIELD(fine_grid),        FIELD(coarse_grid),      FIELD(segment),
    FIELD(coarse_segments),
};

// Offset and size of the n-th field and its name; returns how many there are.
extern "C" int parameter_field(int n, const char **name, int *offset, int *bytes) {
    constexpr int count = sizeof(FIELDS) / sizeof(FIELDS[0]);
    if (n >= 0 && n < count) {
        *name = FIELDS[n].name;
        *offset = FIELDS[n].offset;
        *bytes = FIELDS[n].bytes;
    }
    return count;
}
extern "C" int parameter_bytes() { return sizeof(Parameters); }
extern "C" int entry_bytes() { return sizeof(Entry); }

// Voxels and texels read since the last call.
extern "C" long long take_reads() { return std::exchange(reads, 0); }
