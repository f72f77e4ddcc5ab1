// Vectors of floats, whatever the processor's width, and products of small matrices.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

constexpr int LANES = VECTOR_BYTES / sizeof(float);
typedef float vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(float)), may_alias));
typedef int32_t ivec __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef uint64_t pairs __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

constexpr long up(long n, long to = LANES) { return (n + to - 1) / to * to; }

// sums in registers: TALL rows of at most WIDE vectors
constexpr int WIDE = REGISTERS == 32 ? 4 : 2, TALL = 6, PANEL = WIDE * LANES;
// of gradients of weights, whose number of rows is a multiple of LANES
constexpr int TALL_WEIGHT = 4;

static vec load(const float *at) { return *(const vec *)at; }
static void store(float *at, vec v) { *(vec *)at = v; }
static vec all(float x) { return x - (vec){}; }

static float sum(vec v) {
    UNROLL for (int width = LANES / 2; width; width /= 2)
        UNROLL for (int l = 0; l < width; l++) v[l] += v[l + width];
    return v[0];
}

static float largest(vec v) {
    UNROLL for (int width = LANES / 2; width; width /= 2)
        UNROLL for (int l = 0; l < width; l++) v[l] = v[l] > v[l + width] ? v[l] : v[l + width];
    return v[0];
}

// e^x within 2 units in the last place; 0 below the smallest normal number, NaN stays NaN
static inline vec exponential(vec x) {
    vec most = all(88.f), magic = all(12582912.f);  // 1.5 * 2^23: adding it rounds to integers
    vec y = x > most ? most : x;
    vec shifted = y * 1.44269504f + magic, n = shifted - magic;
    vec f = y - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = all(1.9875691500e-4f);
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * f * f + f + 1.f;
    ivec power = ((ivec)shifted << 23) + (ivec)p;  // the magic's own bits leave by the shift
    return x < all(-87.3f) ? (vec){} : (vec)power;
}

static inline vec sigmoid(vec x) { return 1.f / (1.f + exponential(-x)); }

// c[M][N vectors] = or += sum over k of a[m][k] b[k]
template <int M, int N, bool ADD>
__attribute__((noinline)) static void tile(const float *a, long am, long ak, const float *b,
                                           long bk, float *c, long cm, long count) {
    vec total[M][N];
    UNROLL for (int m = 0; m < M; m++)
        UNROLL for (int n = 0; n < N; n++)
            total[m][n] = ADD ? load(c + m * cm + n * LANES) : (vec){};
    for (long k = 0; k < count; k++, a += ak, b += bk) {
        vec right[N];
        UNROLL for (int n = 0; n < N; n++) right[n] = load(b + n * LANES);
        UNROLL for (int m = 0; m < M; m++) {
            float left = a[m * am];
            UNROLL for (int n = 0; n < N; n++) total[m][n] += left * right[n];
        }
    }
    UNROLL for (int m = 0; m < M; m++)
        UNROLL for (int n = 0; n < N; n++) store(c + m * cm + n * LANES, total[m][n]);
}

template <int M, bool ADD>
static void tiles(int wide, const float *a, long am, long ak, const float *b, long bk, float *c,
                  long cm, long count) {
    switch (wide) {
        case 1: return tile<M, 1, ADD>(a, am, ak, b, bk, c, cm, count);
        case 2: return tile<M, 2, ADD>(a, am, ak, b, bk, c, cm, count);
        case 3: return tile<M, WIDE == 4 ? 3 : 1, ADD>(a, am, ak, b, bk, c, cm, count);
        default: return tile<M, WIDE, ADD>(a, am, ak, b, bk, c, cm, count);
    }
}

// c[rows][width] = or += a b, of a with any strides and b [count][width]; in panels, each
// [count][PANEL or what is left], if packed
template <int M, bool ADD>
static void product(long rows, int width, long count, const float *a, long am, long ak,
                    const float *b, long bk, bool packed, float *c, long cm) {
    for (int from = 0; from < width; from += PANEL) {
        int wide = std::min(PANEL, width - from);
        const float *panel = packed ? b + from * count : b + from;
        for (long m = 0; m < rows; m += M)
            tiles<M, ADD>(wide / LANES, a + m * am, am, ak, panel, packed ? wide : bk,
                          c + m * cm + from, cm, count);
    }
}
