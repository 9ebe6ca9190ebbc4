// From what was drawn to what is shown. Independent of the volume's type. Launched with blocks of 128 threads in one
// dimension, one thread a pixel of the result.

enum WindowFunction : int { LINEAR_EXACT = 0, LINEAR = 1, SIGMOID = 2 };

__device__ inline long long thread_index() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }

// Modality values to gray: floor(255 * y + 0.5), y as PS3.3 C.11.2.1.2 and .3 have it. In float64 and without fused
// operations, so that the pixels equal those of `Window.to_gray8` and of the browser. NaN is shown as the lowest value.
extern "C" __global__ void gray8(const float *__restrict__ values, unsigned char *__restrict__ out, long long count,
                                 double center, double width, int function, int invert) {
    const long long at = thread_index();
    if (at >= count) return;
    const double x = values[at];
    double y;
    if (function == SIGMOID) {
        y = 1.0 / (1.0 + exp(-4.0 * (x - center) / width));
    } else {
        const double middle = function == LINEAR ? center - 0.5 : center;
        const double span = function == LINEAR ? width - 1.0 : width;
        if (span == 0.0)
            y = x <= middle ? 0.0 : 1.0;
        else
            y = fmin(fmax(__dadd_rn((x - middle) / span, 0.5), 0.0), 1.0);
    }
    const int gray = x != x ? 0 : static_cast<int>(__dadd_rn(__dmul_rn(y, 255.0), 0.5));
    out[at] = static_cast<unsigned char>(invert ? 255 - gray : gray);
}

// The same through a table of the source: `grays` has what `Window.to_gray8` gives for each input from `first` on. Inputs
// are rounded to the nearest, beyond the table its ends are held.
extern "C" __global__ void gray8_by_table(const float *__restrict__ values, unsigned char *__restrict__ out,
                                          long long count, const unsigned char *__restrict__ grays, double first,
                                          int entries, int invert) {
    const long long at = thread_index();
    if (at >= count) return;
    const double x = values[at];
    const double entry = fmin(fmax(rint(x) - first, 0.0), entries - 1.0);
    const int gray = x != x ? 0 : grays[static_cast<int>(entry)];
    out[at] = static_cast<unsigned char>(invert ? 255 - gray : gray);
}

// Red, green and blue values, 0 to 255, to premultiplied RGBA: opaque, and transparent where they are NaN.
extern "C" __global__ void join_channels(const float *__restrict__ red, const float *__restrict__ green,
                                         const float *__restrict__ blue, uchar4 *__restrict__ out, long long count) {
    const long long at = thread_index();
    if (at >= count) return;
    const float values[3] = {red[at], green[at], blue[at]};
    unsigned char color[3];
    for (int n = 0; n < 3; ++n)
        color[n] = static_cast<unsigned char>(rintf(fminf(fmaxf(values[n], 0.0f), 255.0f)));
    out[at] = isfinite(values[0]) ? make_uchar4(color[0], color[1], color[2], 255) : make_uchar4(0, 0, 0, 0);
}

// Premultiplied RGBA over black: three bytes a pixel.
extern "C" __global__ void rgb(const uchar4 *__restrict__ rgba, unsigned char *__restrict__ out, long long count) {
    const long long at = thread_index();
    if (at >= count) return;
    const uchar4 color = rgba[at];
    out[3 * at] = color.x;
    out[3 * at + 1] = color.y;
    out[3 * at + 2] = color.z;
}

// Averages blocks of `divisor` by `divisor` pixels, rounded to nearest, as `render.encoding.pictures.shrink` does: where
// the picture ends within a block its last row or column stands for what is missing. One thread a byte of the result.
extern "C" __global__ void shrink(const unsigned char *__restrict__ picture, int width, int height, int channels,
                                  int divisor, unsigned char *__restrict__ out) {
    const int columns = (width + divisor - 1) / divisor, rows = (height + divisor - 1) / divisor;
    const long long at = thread_index();
    if (at >= static_cast<long long>(rows) * columns * channels) return;
    const int channel = static_cast<int>(at % channels), column = static_cast<int>(at / channels % columns);
    const int row = static_cast<int>(at / channels / columns);
    int total = 0;
    for (int n = 0; n < divisor; ++n) {
        const long long y = min(row * divisor + n, height - 1);
        for (int m = 0; m < divisor; ++m)
            total += picture[(y * width + min(column * divisor + m, width - 1)) * channels + channel];
    }
    const int count = divisor * divisor;
    out[at] = static_cast<unsigned char>((total + count / 2) / count);
}

// The two rays around a pixel and the weight of the second. Ray R of a picture with stride s was cast through the
// middle of pixels R * s to R * s + s - 1; beyond the outermost rays their values are held.
__device__ inline void between(int pixel, int stride, int count, int &before, int &after, float &part) {
    const float at = fminf(fmaxf((pixel - 0.5f * (stride - 1)) / stride, 0.0f), count - 1.0f);
    before = min(static_cast<int>(at), max(count - 2, 0));
    after = min(before + 1, count - 1);
    part = at - before;
}

// Along one direction: the rays around a pixel, and the weights of a Catmull-Rom spline. A ray beyond the outermost
// one would go on in a straight line from the two beside it: so its weight is theirs.
struct Taps {
    int ray[4];
    float weight[4], part;
};

__device__ inline Taps taps_of(int pixel, int stride, int count) {
    Taps taps;
    int before, after;
    between(pixel, stride, count, before, after, taps.part);
    const float x = taps.part, square = x * x, cube = square * x;
    float *w = taps.weight;
    w[0] = -0.5f * x + square - 0.5f * cube;
    w[1] = 1.0f - 2.5f * square + 1.5f * cube;
    w[2] = 0.5f * x + 2.0f * square - 1.5f * cube;
    w[3] = 0.5f * cube - 0.5f * square;
    if (before == 0) {
        w[1] += 2.0f * w[0];
        w[2] -= w[0];
        w[0] = 0.0f;
    }
    if (before + 2 >= count) {
        w[1] -= w[3];
        w[2] += 2.0f * w[3];
        w[3] = 0.0f;
    }
    for (int n = 0; n < 4; ++n) taps.ray[n] = min(max(before + n - 1, 0), count - 1);
    return taps;
}

// Brings a picture of fewer rays to the viewport's size, within the range of the four rays around each pixel. NaN takes
// no part, but a pixel whose nearest ray is NaN is NaN, so that edges stay where they are; beside NaN the four rays
// are weighed bilinearly.
extern "C" __global__ void enlarge_values(const float *__restrict__ rays, int rays_width, int rays_height, int stride,
                                          float *__restrict__ out, int width, int height) {
    const long long at = thread_index();
    if (at >= static_cast<long long>(width) * height) return;
    const Taps down = taps_of(static_cast<int>(at / width), stride, rays_height);
    const Taps across = taps_of(static_cast<int>(at % width), stride, rays_width);
    const float nearest = rays[down.ray[down.part > 0.5f ? 2 : 1] * rays_width + across.ray[across.part > 0.5f ? 2 : 1]];
    float smooth = 0.0f, total = 0.0f, weights = 0.0f, low = nearest, high = nearest;
    for (int n = 0; n < 16; ++n) {
        const int y = n / 4, x = n % 4;
        const float value = rays[down.ray[y] * rays_width + across.ray[x]];
        smooth += down.weight[y] * across.weight[x] * value;
        if ((y == 1 || y == 2) && (x == 1 || x == 2) && value == value) {
            const float weight =
                (y == 2 ? down.part : 1.0f - down.part) * (x == 2 ? across.part : 1.0f - across.part);
            total += weight * value;
            weights += weight;
            low = fminf(low, value);
            high = fmaxf(high, value);
        }
    }
    if (nearest != nearest)
        out[at] = nearest;
    else
        out[at] = smooth == smooth ? fminf(fmaxf(smooth, low), high) : total / weights;
}

// The same for one channel of premultiplied RGBA, before it is rounded.
__device__ inline float mixed(const unsigned char *channel, int rays_width, const Taps &down, const Taps &across) {
    float smooth = 0.0f, low = 255.0f, high = 0.0f;
    for (int n = 0; n < 16; ++n) {
        const int y = n / 4, x = n % 4;
        const float value = channel[4 * (static_cast<long long>(down.ray[y]) * rays_width + across.ray[x])];
        smooth += down.weight[y] * across.weight[x] * value;
        if ((y == 1 || y == 2) && (x == 1 || x == 2)) {
            low = fminf(low, value);
            high = fmaxf(high, value);
        }
    }
    return fminf(fmaxf(smooth, low), high);
}

// No colour exceeds alpha.
extern "C" __global__ void enlarge_color(const uchar4 *__restrict__ rays, int rays_width, int rays_height, int stride,
                                         uchar4 *__restrict__ out, int width, int height) {
    const long long at = thread_index();
    if (at >= static_cast<long long>(width) * height) return;
    const Taps down = taps_of(static_cast<int>(at / width), stride, rays_height);
    const Taps across = taps_of(static_cast<int>(at % width), stride, rays_width);
    const unsigned char *channels = &rays->x;
    const float alpha = mixed(channels + 3, rays_width, down, across);
    unsigned char color[3];
    for (int n = 0; n < 3; ++n)
        color[n] = static_cast<unsigned char>(fminf(mixed(channels + n, rays_width, down, across), alpha) + 0.5f);
    out[at] = make_uchar4(color[0], color[1], color[2], static_cast<unsigned char>(alpha + 0.5f));
}
