// Two layers of convolution, 2x2 max-pool and ReLU, then dropout: forward and backward, many cells.
//
// A vector holds one number of each of LANES images; everything below is vector arithmetic. Loops
// over a kernel are fully unrolled, so that sums stay in registers and each load of a pixel serves
// all its products. The four convolutions of a pool are computed together; their gradients are kept
// separately, zero except for the winner.
//
// Macros: REAL, HEIGHT, WIDTH, CHANNELS1, CHANNELS2, KERNEL, PADDING.

#include <cstdint>
#include <cstring>

constexpr int LANES = VECTOR_BYTES / sizeof(REAL);
typedef REAL vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef decltype(vec{} > vec{}) ivec;
typedef int8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
constexpr int K = KERNEL, TILE = KERNEL + 1;
constexpr int8_t NONE = 4;

// the largest divisor of n up to most
constexpr int divisor(int n, int most) {
    while (n % most) most--;
    return most;
}

// layout of a layer's output: strides of channel, row and column, in vectors
struct Strides {
    long channel, row, column;
    long operator()(int o, int i, int j) const { return o * channel + i * row + j * column; }
};

template <int IN, int OUT, int H, int W>
struct Layer {
    static constexpr int HEIGHT_OUT = (H - K + 1) / 2, WIDTH_OUT = (W - K + 1) / 2;
    static constexpr int SIZE = OUT * HEIGHT_OUT * WIDTH_OUT, WEIGHTS = OUT * IN * K * K;
    // as many sums at a time as registers hold: output channels, rows of a kernel, rows of a tile
    static constexpr int GROUP = divisor(OUT, REGISTERS == 32 ? 6 : 3);
    static constexpr int KERNEL_ROWS = REGISTERS == 32 ? K : divisor(K, 2);
    static constexpr int TILE_ROWS = divisor(TILE, REGISTERS == 32 ? 24 / TILE : 8 / TILE + 1);

    // x [IN][H][W]; winner [OUT][HEIGHT_OUT][WIDTH_OUT] is set to the maximum of each pool, or to
    // NONE if no gradient passes; the output is multiplied by mask, if there is one
    static void forward(const vec *x, const REAL *w, const REAL *bias, const vec *mask, vec *out,
                        Strides at, bytes *winner) {
        for (int i = 0; i < HEIGHT_OUT; i++)
            for (int j = 0; j < WIDTH_OUT; j++)
                for (int o = 0; o < OUT; o += GROUP) {
                    vec sum[4][GROUP] = {};
                    for (int c = 0; c < IN; c++) {
                        const vec *tile = x + (c * H + 2 * i) * W + 2 * j;
                        const REAL *kernel = w + (o * IN + c) * K * K;
                        UNROLL for (int r = 0; r < TILE; r++)
                        UNROLL for (int s = 0; s < TILE; s++) {
                            vec v = tile[r * W + s];
                            UNROLL for (int q = 0; q < 4; q++) {
                                int u = r - q / 2, t = s - q % 2;
                                if (u < 0 || u >= K || t < 0 || t >= K) continue;
                                UNROLL for (int g = 0; g < GROUP; g++)
                                    sum[q][g] += v * kernel[g * IN * K * K + u * K + t];
                            }
                        }
                    }
                    UNROLL for (int g = 0; g < GROUP; g++) {
                        vec a = sum[0][g], b = sum[1][g], c = sum[2][g], d = sum[3][g];
                        vec above = b > a ? b : a, below = d > c ? d : c;
                        vec y = (below > above ? below : above) + bias[o + g], zero = {};
                        y = y < zero ? zero : y;  // NaN stays NaN
                        long place = at(o + g, i, j);
                        if (mask) y *= mask[place];
                        out[place] = y;
                        if (!winner) continue;
                        ivec right_above = b > a, right_below = d > c, none = (ivec){} + NONE;
                        ivec which = below > above ? 2 - right_below : -right_above;
                        which = y > zero ? which : none;
                        winner[((o + g) * HEIGHT_OUT + i) * WIDTH_OUT + j] =
                            __builtin_convertvector(which, bytes);
                    }
                }
    }

    // the gradient of each of the four of a pool, parts [OUT][HEIGHT_OUT][WIDTH_OUT][4]
    static void unpool(const vec *grad, const vec *mask, Strides at, const bytes *winner,
                       vec *parts, vec *bias) {
        for (int o = 0; o < OUT; o++)
            for (int i = 0; i < HEIGHT_OUT; i++)
                for (int j = 0; j < WIDTH_OUT; j++) {
                    vec g = grad[at(o, i, j)], zero = {};
                    if (mask) g *= mask[at(o, i, j)];
                    ivec which = __builtin_convertvector(*winner++, ivec);
                    UNROLL for (int q = 0; q < 4; q++) {
                        vec part = which == (ivec){} + q ? g : zero;
                        *parts++ = part;
                        bias[o] += part;
                    }
                }
    }

    // added to weight [OUT][IN][K][K], one sum for each lane
    static void grad_weight(const vec *x, const vec *parts, vec *weight) {
        for (int o = 0; o < OUT; o++)
            for (int c = 0; c < IN; c++)
                for (int top = 0; top < K; top += KERNEL_ROWS) {
                    vec sum[KERNEL_ROWS][K];
                    vec *total = weight + ((o * IN + c) * K + top) * K;
                    UNROLL for (int k = 0; k < KERNEL_ROWS * K; k++) sum[k / K][k % K] = total[k];
                    for (int i = 0; i < HEIGHT_OUT; i++)
                        for (int j = 0; j < WIDTH_OUT; j++) {
                            const vec *tile = x + (c * H + 2 * i + top) * W + 2 * j;
                            const vec *g = parts + ((o * HEIGHT_OUT + i) * WIDTH_OUT + j) * 4;
                            vec g0 = g[0], g1 = g[1], g2 = g[2], g3 = g[3];
                            UNROLL for (int r = 0; r <= KERNEL_ROWS; r++)
                            UNROLL for (int s = 0; s < TILE; s++) {
                                vec v = tile[r * W + s];
                                if (r < KERNEL_ROWS && s < K) sum[r][s] += v * g0;
                                if (r < KERNEL_ROWS && s > 0) sum[r][s - 1] += v * g1;
                                if (r > 0 && s < K) sum[r - 1][s] += v * g2;
                                if (r > 0 && s > 0) sum[r - 1][s - 1] += v * g3;
                            }
                        }
                    UNROLL for (int k = 0; k < KERNEL_ROWS * K; k++) total[k] = sum[k / K][k % K];
                }
    }

    // added to grad [IN][H][W]
    static void grad_input(const vec *parts, const REAL *w, vec *grad) {
        for (int i = 0; i < HEIGHT_OUT; i++)
            for (int j = 0; j < WIDTH_OUT; j++)
                for (int c = 0; c < IN; c++)
                    UNROLL for (int top = 0; top < TILE; top += TILE_ROWS) {
                        vec *tile = grad + (c * H + 2 * i + top) * W + 2 * j;
                        vec sum[TILE_ROWS][TILE];
                        UNROLL for (int r = 0; r < TILE_ROWS; r++)
                        UNROLL for (int s = 0; s < TILE; s++) sum[r][s] = tile[r * W + s];
                        for (int o = 0; o < OUT; o++) {
                            const vec *g = parts + ((o * HEIGHT_OUT + i) * WIDTH_OUT + j) * 4;
                            const REAL *kernel = w + (o * IN + c) * K * K;
                            vec part[4] = {g[0], g[1], g[2], g[3]};
                            UNROLL for (int r = 0; r < TILE_ROWS; r++)
                            UNROLL for (int s = 0; s < TILE; s++)
                            UNROLL for (int q = 0; q < 4; q++) {
                                int u = top + r - q / 2, t = s - q % 2;
                                if (u < 0 || u >= K || t < 0 || t >= K) continue;
                                sum[r][s] += part[q] * kernel[u * K + t];
                            }
                        }
                        UNROLL for (int r = 0; r < TILE_ROWS; r++)
                        UNROLL for (int s = 0; s < TILE; s++) tile[r * W + s] = sum[r][s];
                    }
    }
};

constexpr int P = PADDING;
constexpr int H1 = HEIGHT + 2 * P, W1 = WIDTH + 2 * P;
typedef Layer<1, CHANNELS1, H1, W1> First;
constexpr int H2 = First::HEIGHT_OUT + 2 * P, W2 = First::WIDTH_OUT + 2 * P;
typedef Layer<CHANNELS1, CHANNELS2, H2, W2> Second;
constexpr int IMAGE = H1 * W1, MIDDLE = CHANNELS1 * H2 * W2;
constexpr Strides INSIDE = {H2 * W2, W2, 1};  // the middle, within its border
constexpr int CORNER = P * W2 + P;

// the features of a block among those of all blocks of a cell
static Strides among(long blocks) {
    return {Second::HEIGHT_OUT * Second::WIDTH_OUT * blocks, Second::WIDTH_OUT * blocks, blocks};
}

static void add_lanes(const vec *from, int count, REAL *to) {
    for (int k = 0; k < count; k++)
        for (int l = 0; l < LANES; l++) to[k] += from[k][l];
}

extern "C" {

int lanes() { return LANES; }

// Blocks `from` to `to` of every cell. A block is LANES images, the innermost dimension:
// images [seeds][blocks][H1][W1], middle [cells][blocks][CHANNELS1][H2][W2], zero at its borders,
// mask [seeds][features][blocks] or null, features [cells][features][blocks]; winners are null
// if no gradient is needed.
void forward(long cells, long blocks, long from, long to, const int64_t *seed, const REAL *images,
             const REAL *mask, const REAL *w1, const REAL *b1, const REAL *w2, const REAL *b2,
             REAL *middle, REAL *features, int8_t *winner1, int8_t *winner2) {
    for (long block = from; block < to; block++)
        for (long cell = 0; cell < cells; cell++) {
            long place = cell * blocks + block;
            const vec *x = (const vec *)images + (seed[cell] * blocks + block) * IMAGE;
            const vec *kept =
                mask ? (const vec *)mask + seed[cell] * Second::SIZE * blocks + block : nullptr;
            vec *m = (vec *)middle + place * MIDDLE;
            bytes *one = winner1 ? (bytes *)winner1 + place * First::SIZE : nullptr;
            bytes *two = winner2 ? (bytes *)winner2 + place * Second::SIZE : nullptr;
            First::forward(x, w1 + cell * First::WEIGHTS, b1 + cell * CHANNELS1, nullptr,
                           m + CORNER, INSIDE, one);
            Second::forward(m, w2 + cell * Second::WEIGHTS, b2 + cell * CHANNELS2, kept,
                            (vec *)features + cell * Second::SIZE * blocks + block, among(blocks),
                            two);
        }
}

// The gradients of the weights are added to gw1, gb1, gw2, gb2.
void backward(long cells, long blocks, long from, long to, const int64_t *seed, const REAL *images,
              const REAL *mask, const REAL *w2, const REAL *middle, const int8_t *winner1,
              const int8_t *winner2, const REAL *grad, REAL *gw1, REAL *gb1, REAL *gw2,
              REAL *gb2) {
    static thread_local vec parts1[First::SIZE * 4], parts2[Second::SIZE * 4], gm[MIDDLE];
    static thread_local vec sum_w1[First::WEIGHTS], sum_w2[Second::WEIGHTS];
    static thread_local vec sum_b1[CHANNELS1], sum_b2[CHANNELS2];
    for (long cell = 0; cell < cells; cell++) {
        memset(sum_w1, 0, sizeof sum_w1), memset(sum_w2, 0, sizeof sum_w2);
        memset(sum_b1, 0, sizeof sum_b1), memset(sum_b2, 0, sizeof sum_b2);
        for (long block = from; block < to; block++) {
            long place = cell * blocks + block;
            const vec *x = (const vec *)images + (seed[cell] * blocks + block) * IMAGE;
            const vec *kept =
                mask ? (const vec *)mask + seed[cell] * Second::SIZE * blocks + block : nullptr;
            Second::unpool((const vec *)grad + cell * Second::SIZE * blocks + block, kept,
                           among(blocks), (const bytes *)winner2 + place * Second::SIZE, parts2,
                           sum_b2);
            Second::grad_weight((const vec *)middle + place * MIDDLE, parts2, sum_w2);
            memset(gm, 0, sizeof gm);
            Second::grad_input(parts2, w2 + cell * Second::WEIGHTS, gm);
            First::unpool(gm + CORNER, nullptr, INSIDE,
                          (const bytes *)winner1 + place * First::SIZE, parts1, sum_b1);
            First::grad_weight(x, parts1, sum_w1);
        }
        add_lanes(sum_w1, First::WEIGHTS, gw1 + cell * First::WEIGHTS);
        add_lanes(sum_w2, Second::WEIGHTS, gw2 + cell * Second::WEIGHTS);
        add_lanes(sum_b1, CHANNELS1, gb1 + cell * CHANNELS1);
        add_lanes(sum_b2, CHANNELS2, gb2 + cell * CHANNELS2);
    }
}

}  // extern "C"
