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

// Premultiplied RGBA over black: three bytes a pixel.
extern "C" __global__ void rgb(const uchar4 *__restrict__ rgba, unsigned char *__restrict__ out, long long count) {
    const long long at = thread_index();
    if (at >= count) return;
    const uchar4 color = rgba[at];
    out[3 * at] = color.x;
    out[3 * at + 1] = color.y;
    out[3 * at + 2] = color.z;
}

// The two rays around a pixel and the weight of the second. Ray R of a picture with stride s was cast through the
// middle of pixels R * s to R * s + s - 1; beyond the outermost rays their values are held.
__device__ inline void between(int pixel, int stride, int count, int &before, int &after, float &part) {
    const float at = fminf(fmaxf((pixel - 0.5f * (stride - 1)) / stride, 0.0f), count - 1.0f);
    before = min(static_cast<int>(at), max(count - 2, 0));
    after = min(before + 1, count - 1);
    part = at - before;
}

// Brings a picture of fewer rays to the viewport's size, bilinearly. NaN takes no part, but a pixel whose nearest ray
// is NaN is NaN, so that edges stay where they are.
extern "C" __global__ void enlarge_values(const float *__restrict__ rays, int rays_width, int rays_height, int stride,
                                          float *__restrict__ out, int width, int height) {
    const long long at = thread_index();
    if (at >= static_cast<long long>(width) * height) return;
    int top, bottom, left, right;
    float down, across;
    between(static_cast<int>(at / width), stride, rays_height, top, bottom, down);
    between(static_cast<int>(at % width), stride, rays_width, left, right, across);
    const float nearest = rays[(down > 0.5f ? bottom : top) * rays_width + (across > 0.5f ? right : left)];
    float total = 0.0f, weights = 0.0f;
    for (int n = 0; n < 4; ++n) {
        const float value = rays[(n & 2 ? bottom : top) * rays_width + (n & 1 ? right : left)];
        const float weight = (n & 2 ? down : 1.0f - down) * (n & 1 ? across : 1.0f - across);
        if (value == value) {
            total += weight * value;
            weights += weight;
        }
    }
    out[at] = nearest == nearest ? total / weights : nearest;
}

__device__ inline unsigned char mixed(int a, int b, int c, int d, float across, float down) {
    const float upper = a + across * (b - a), lower = c + across * (d - c);
    return static_cast<unsigned char>(upper + down * (lower - upper) + 0.5f);
}

// The same for premultiplied RGBA.
extern "C" __global__ void enlarge_color(const uchar4 *__restrict__ rays, int rays_width, int rays_height, int stride,
                                         uchar4 *__restrict__ out, int width, int height) {
    const long long at = thread_index();
    if (at >= static_cast<long long>(width) * height) return;
    int top, bottom, left, right;
    float down, across;
    between(static_cast<int>(at / width), stride, rays_height, top, bottom, down);
    between(static_cast<int>(at % width), stride, rays_width, left, right, across);
    const uchar4 a = rays[top * rays_width + left], b = rays[top * rays_width + right];
    const uchar4 c = rays[bottom * rays_width + left], d = rays[bottom * rays_width + right];
    out[at] = make_uchar4(mixed(a.x, b.x, c.x, d.x, across, down), mixed(a.y, b.y, c.y, d.y, across, down),
                          mixed(a.z, b.z, c.z, d.z, across, down), mixed(a.w, b.w, c.w, d.w, across, down));
}
