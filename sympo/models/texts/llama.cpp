// Log-probabilities of responses under small Llamas, forward and backward, cell by cell.
//
// A block is a few whole rows without padding, so that its activations stay in cache while it passes
// through all layers; the weights of a cell stay in L2. Every weight is a matrix of outer x HIDDEN
// numbers, as it is or transposed, and every width is padded to whole vectors with zeros. Products
// compute whole tiles: a block's arrays have room for some rows more, which are never read.
//
// Macros: HIDDEN, INTERMEDIATE, LAYERS, HEADS, HEAD, VOCABULARY.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define REGISTERS 32
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define REGISTERS 16
#else
#define VECTOR_BYTES 16
#ifdef __aarch64__
#define REGISTERS 32
#else
#define REGISTERS 16
#endif
#endif
#define UNROLL _Pragma("GCC unroll 32")

constexpr int LANES = VECTOR_BYTES / sizeof(float);
typedef float vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(float)), may_alias));
typedef int32_t ivec __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef uint64_t pairs __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

constexpr long up(long n, long to = LANES) { return (n + to - 1) / to * to; }

// padded widths: of states, of a head, of all heads, of the MLP, of the vocabulary
constexpr int W = up(HIDDEN), D = up(HEAD), Q = HEADS * D, I = up(INTERMEDIATE), V = up(VOCABULARY);
// sums in registers: TALL rows of at most WIDE vectors
constexpr int WIDE = REGISTERS == 32 ? 4 : 2, TALL = 6, PANEL = WIDE * LANES;
// of gradients of weights, whose number of rows is a multiple of LANES
constexpr int TALL_WEIGHT = 4;
constexpr int BLOCK_TOKENS = 96;

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
__attribute__((noinline)) static void tile(const float *a, long am, long ak, const float *b, long bk,
                                           float *c, long cm, long count) {
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

// A matrix of weights: outer x W, and its transposed in panels.
struct Matrix {
    int outer;
    float *rows, *panels;

    void pack() const {
        for (int from = 0; from < outer; from += PANEL) {
            int wide = std::min(PANEL, outer - from);
            for (int o = 0; o < wide; o++)
                for (int k = 0; k < W; k++)
                    panels[from * W + k * wide + o] = rows[(from + o) * W + k];
        }
    }
    // (n, W) -> (n, outer)
    void expand(const float *x, long n, float *y) const {
        product<TALL, false>(n, outer, W, x, W, 1, panels, 0, true, y, outer);
    }
    // (n, outer) -> (n, W)
    template <bool ADD>
    void reduce(const float *y, long n, float *x) const {
        product<TALL, ADD>(n, W, outer, y, outer, 1, rows, W, false, x, W);
    }
};

// added to grad (outer, W): y' x of y (n, outer) and x (n, W)
static void add_gradient(int outer, const float *y, const float *x, long n, float *grad) {
    product<TALL_WEIGHT, true>(outer, W, n, y, 1, outer, x, W, false, grad, W);
}

// Where a matrix is in the weights of a cell: its rows in groups, each padded; gain: the norm before
// it, which scales its columns, or -1; transposed: stored as HIDDEN x rows.
struct Part {
    long at, gain;
    int rows, group, padded;
    bool transposed;
    int outer() const { return rows / group * padded; }
    int place(int row) const { return row / group * padded + row % group; }
    long from(int row, int k) const {
        return transposed ? at + (long)k * rows + row : at + (long)row * HIDDEN + k;
    }
};

enum { QUERY, KEY_VALUE, OUT, GATE_UP, DOWN, KINDS };
constexpr int PARTS = KINDS * LAYERS + 1, HEAD_PART = PARTS - 1;
constexpr long SQUARE = (long)HIDDEN * HIDDEN, MLP = (long)HIDDEN * INTERMEDIATE;
constexpr long LAYER_WEIGHTS = 2 * HIDDEN + 4 * SQUARE + 3 * MLP;
constexpr long WEIGHTS = (long)VOCABULARY * HIDDEN + LAYERS * LAYER_WEIGHTS + HIDDEN;

static Part part(int number) {
    if (number == HEAD_PART) return {0, WEIGHTS - HIDDEN, VOCABULARY, VOCABULARY, V, false};
    long norm = (long)VOCABULARY * HIDDEN + number / KINDS * LAYER_WEIGHTS;
    long qkv = norm + HIDDEN, mlp_norm = qkv + 4 * SQUARE, gate_up = mlp_norm + HIDDEN;
    switch (number % KINDS) {
        case QUERY: return {qkv, norm, HIDDEN, HEAD, D, false};
        case KEY_VALUE: return {qkv + SQUARE, norm, 2 * HIDDEN, HEAD, D, false};
        case OUT: return {qkv + 3 * SQUARE, -1, HIDDEN, HEAD, D, true};
        case GATE_UP: return {gate_up, mlp_norm, 2 * INTERMEDIATE, INTERMEDIATE, I, false};
        default: return {gate_up + 2 * MLP, -1, INTERMEDIATE, INTERMEDIATE, I, true};
    }
}

constexpr long MATRICES = (long)W * (LAYERS * (4 * Q + 3 * I) + V);

// Memory that a thread keeps between calls; new memory is zero.
struct Memory {
    std::vector<float> own;
    float *next = nullptr;
    void start(long floats) {
        if ((long)own.size() < floats + 16) own.assign(floats + 16, 0.f);
        next = (float *)(((uintptr_t)own.data() + 63) / 64 * 64);
    }
    float *take(long floats) {
        float *found = next;
        next += up(floats, 16);
        return found;
    }
};

struct Weights {
    Matrix matrix[PARTS];

    void take(Memory &memory) {
        for (int number = 0; number < PARTS; number++) {
            int outer = part(number).outer();
            matrix[number] = {outer, memory.take(outer * W), memory.take(outer * W)};
        }
    }
    void read(const float *weights) const {
        for (int number = 0; number < PARTS; number++) {
            Part own = part(number);
            const Matrix &to = matrix[number];
            memset(to.rows, 0, sizeof(float) * to.outer * W);
            for (int row = 0; row < own.rows; row++)
                for (int k = 0; k < HIDDEN; k++) {
                    float gain = own.gain < 0 ? 1.f : weights[own.gain + k];
                    to.rows[own.place(row) * W + k] = weights[own.from(row, k)] * gain;
                }
            to.pack();
        }
    }
    const Matrix &of(int layer, int kind) const { return matrix[layer * KINDS + kind]; }
};

// Gradients of matrices to those of a cell's weights: of W diag(g), both parts.
static void write_gradient(int number, const float *grad, const float *weights, float *to) {
    Part own = part(number);
    for (int row = 0; row < own.rows; row++)
        for (int k = 0; k < HIDDEN; k++) {
            float g = grad[own.place(row) * W + k];
            long from = own.from(row, k);
            to[from] += own.gain < 0 ? g : g * weights[own.gain + k];
            if (own.gain >= 0) to[own.gain + k] += g * weights[from];
        }
}

// All rows of a data set, without the last token of each side, which predicts nothing and which no
// other token sees. offset: (rows + 1,) the first token of each; targets: (tokens, sides), or -1.
// Of a row: shared, the length of the prefix; first, of the first side; from, the first token that
// predicts.
struct Table {
    const int64_t *ids, *positions, *targets, *offset, *shared, *first, *from;
};

struct Row {
    long number, at;        // of the call, in the table
    long token, predictor;  // its first ones in the block
    int length, from, shared, first;
};

// What a layer keeps for the backward pass. queries: from the tokens that predict in the last layer,
// from all in others.
struct Kept {
    long queries;
    float *x1, *scale1, *own, *query, *key_value, *weight, *out, *x2, *scale2, *gate_up;
};

struct Block {
    std::vector<Row> rows;
    long next = 0, tokens = 0, predictors = 0, longest = 0;
    Kept layer[LAYERS];
    float *x, *scale, *probability;

    // the rows from `next` on that fit
    bool fill(const Table &table, const int64_t *index, long count) {
        rows.clear(), tokens = predictors = 0;
        for (; next < count; next++) {
            long i = index[next], length = table.offset[i + 1] - table.offset[i];
            if (tokens && tokens + length > BLOCK_TOKENS) break;
            rows.push_back({next, table.offset[i], tokens, predictors, (int)length,
                            (int)table.from[i], (int)table.shared[i], (int)table.first[i]});
            tokens += length, predictors += length - table.from[i];
            longest = std::max(longest, length);
        }
        return tokens > 0;
    }

    // of a row, the first token with a query, and its place among the block's queries
    static int first_query(int l, const Row &row) { return l + 1 < LAYERS ? 0 : row.from; }
    static long query(int l, const Row &row) { return l + 1 < LAYERS ? row.token : row.predictor; }

    // places in memory; returns their size
    long lay(float *at) {
        long used = 0;
        auto take = [&](long n, long width) {
            float *found = at + used;
            used += up((n + TALL) * width, 16);
            return found;
        };
        for (int l = 0; l < LAYERS; l++) {
            bool last = l + 1 == LAYERS;
            Kept &to = layer[l];
            long n = to.queries = last ? predictors : tokens, scores = 0;
            for (const Row &row : rows)
                scores += (long)HEADS * (row.length - first_query(l, row)) * up(row.length);
            to.x1 = take(tokens, W), to.scale1 = take(tokens, 1);
            to.own = last ? take(n, W) : to.x1;
            to.query = take(n, Q), to.key_value = take(tokens, 2 * Q);
            to.weight = take(scores + TALL * up(longest), 1), to.out = take(n, Q);
            to.x2 = take(n, W), to.scale2 = take(n, 1), to.gate_up = take(n, 2 * I);
        }
        x = take(predictors, W), scale = take(predictors, 1), probability = take(predictors, V);
        return used;
    }
};

// x = h / sqrt(mean(h^2) + epsilon)
static void normalise(const float *h, long n, float epsilon, float *x, float *scale) {
    for (long t = 0; t < n; t++, h += W, x += W) {
        vec square = {};
        UNROLL for (int k = 0; k < W; k += LANES) square += load(h + k) * load(h + k);
        scale[t] = 1 / std::sqrt(sum(square) / HIDDEN + epsilon);
        UNROLL for (int k = 0; k < W; k += LANES) store(x + k, load(h + k) * scale[t]);
    }
}

// added to to: the gradient of h, from that of x
static void add_normalised(const float *grad, const float *x, const float *scale, long n, float *to) {
    for (long t = 0; t < n; t++, grad += W, x += W, to += W) {
        vec dot = {};
        UNROLL for (int k = 0; k < W; k += LANES) dot += load(grad + k) * load(x + k);
        float along = sum(dot) / HIDDEN;
        UNROLL for (int k = 0; k < W; k += LANES)
            store(to + k, load(to + k) + (load(grad + k) - load(x + k) * along) * scale[t]);
    }
}

// The heads of one token turned by its position, or back. turns: (positions, 2, D), the cosines and
// the sines of pairs, the sine's sign first negative.
static void turn(float *x, const float *turns, bool back) {
    for (int k = 0; k < Q; k += LANES) {
        vec v = load(x + k), cosine = load(turns + k % D), sine = load(turns + D + k % D);
        pairs p = (pairs)v;
        vec swapped = (vec)((p >> 32) | (p << 32));
        store(x + k, v * cosine + (back ? -swapped : swapped) * sine);
    }
}

static void turn_all(const Block &block, int l, const Table &table, const float *turns, bool back,
                     float *query, float *key_value) {
    for (const Row &row : block.rows) {
        int from = block.first_query(l, row);
        float *q = query + block.query(l, row) * Q;
        for (int t = 0; t < row.length; t++) {
            const float *own = turns + table.positions[row.at + t] * 2 * D;
            turn(key_value + (row.token + t) * 2 * Q, own, back);
            if (t >= from) turn(q + (t - from) * Q, own, back);
        }
    }
}

// [D][up(length)] of [length][2 Q], zero at its end
static void transpose(const float *x, int length, float *to) {
    int wide = up(length);
    for (int d = 0; d < HEAD; d++) {
        for (int t = 0; t < length; t++) to[d * wide + t] = x[t * 2 * Q + d];
        for (int t = length; t < wide; t++) to[d * wide + t] = 0;
    }
}

// Vectors of keys that a tile of queries from i on sees.
static int seen(int i, int first, int length) {
    return up(std::min(first + i + TALL, length)) / LANES;
}

struct Attention {
    int l;
    float *transposed, *bias, *scores;  // [D][longest], [longest][longest] twice

    // 0 or -infinity for each query and key
    void mask(const Row &row, int from) const {
        int wide = up(row.length);
        for (int i = from; i < row.length; i++)
            for (int j = 0; j < wide; j++) {
                bool other = i >= row.first && j >= row.shared && j < row.first;
                bias[(i - from) * wide + j] = j <= i && !other ? 0 : -INFINITY;
            }
    }

    void forward(const Block &block) const {
        const Kept &kept = block.layer[l];
        float *weight = kept.weight;
        for (const Row &row : block.rows) {
            int from = block.first_query(l, row), queries = row.length - from, wide = up(row.length);
            mask(row, from);
            long first = block.query(l, row);
            for (int head = 0; head < HEADS; head++, weight += queries * wide) {
                const float *key = kept.key_value + row.token * 2 * Q + head * D, *value = key + Q;
                const float *query = kept.query + first * Q + head * D;
                transpose(key, row.length, transposed);
                for (int i = 0; i < queries; i += TALL)
                    product<TALL, false>(1, seen(i, from, row.length) * LANES, HEAD, query + i * Q,
                                         Q, 1, transposed, wide, false, weight + i * wide, wide);
                for (int i = 0; i < queries; i++)
                    softmax(weight + i * wide, bias + i * wide, up(from + i + 1), wide);
                for (int i = 0; i < queries; i += TALL)
                    product<TALL, false>(1, D, std::min(from + i + TALL, row.length),
                                         weight + i * wide, wide, 1, value, 2 * Q, false,
                                         kept.out + (first + i) * Q + head * D, Q);
            }
        }
    }

    static void softmax(float *score, const float *bias, int used, int wide) {
        const float scale = 1 / std::sqrt((float)HEAD);
        vec most = all(-INFINITY), total = {};
        for (int j = 0; j < used; j += LANES) {
            vec s = load(score + j) + load(bias + j);
            most = s > most ? s : most;
            store(score + j, s);
        }
        float top = largest(most);
        for (int j = 0; j < used; j += LANES) {
            vec e = exponential((load(score + j) - top) * scale);
            total += e;
            store(score + j, e);
        }
        float share = 1 / sum(total);
        for (int j = 0; j < used; j += LANES) store(score + j, load(score + j) * share);
        for (int j = used; j < wide; j += LANES) store(score + j, (vec){});
    }

    // grad of the output -> of queries, of keys and values
    void backward(const Block &block, const float *grad, float *to_query, float *to_key_value) const {
        const Kept &kept = block.layer[l];
        const float *weight = kept.weight;
        for (const Row &row : block.rows) {
            int from = block.first_query(l, row), queries = row.length - from, wide = up(row.length);
            long first = block.query(l, row);
            for (int head = 0; head < HEADS; head++, weight += queries * wide) {
                long place = row.token * 2 * Q + head * D, own = first * Q + head * D;
                const float *key = kept.key_value + place, *value = key + Q;
                const float *g = grad + own, *query = kept.query + own;
                transpose(value, row.length, transposed);
                for (int i = 0; i < queries; i += TALL)
                    product<TALL, false>(1, seen(i, from, row.length) * LANES, HEAD, g + i * Q, Q,
                                         1, transposed, wide, false, scores + i * wide, wide);
                for (int i = 0; i < queries; i++)
                    to_scores(g + i * Q, kept.out + own + i * Q, weight + i * wide,
                              scores + i * wide, up(from + i + 1), wide);
                for (int i = 0; i < queries; i += TALL)
                    product<TALL, false>(1, D, std::min(from + i + TALL, row.length),
                                         scores + i * wide, wide, 1, key, 2 * Q, false,
                                         to_query + own + i * Q, Q);
                for (int j = 0; j < row.length; j += TALL) {
                    int i = std::max(0, j - from);  // the first query that sees these keys
                    product<TALL, false>(1, D, queries - i, scores + i * wide + j, 1, wide,
                                         query + i * Q, Q, false, to_key_value + place + j * 2 * Q,
                                         2 * Q);
                    product<TALL, false>(1, D, queries - i, weight + i * wide + j, 1, wide, g + i * Q,
                                         Q, false, to_key_value + place + Q + j * 2 * Q, 2 * Q);
                }
            }
        }
    }

    static void to_scores(const float *grad, const float *out, const float *weight, float *score,
                          int used, int wide) {
        vec dot = {};
        UNROLL for (int d = 0; d < D; d += LANES) dot += load(grad + d) * load(out + d);
        float along = sum(dot);
        const float scale = 1 / std::sqrt((float)HEAD);
        for (int j = 0; j < used; j += LANES)
            store(score + j, (load(score + j) - along) * load(weight + j) * scale);
        for (int j = used; j < wide; j += LANES) store(score + j, (vec){});
    }
};

// act = silu(gate) * up
static void swiglu(const float *gate_up, long n, float *act) {
    for (long t = 0; t < n; t++, gate_up += 2 * I, act += I)
        for (int k = 0; k < I; k += LANES) {
            vec gate = load(gate_up + k);
            store(act + k, gate * sigmoid(gate) * load(gate_up + I + k));
        }
}

// grad of act -> of gate and up; act again
static void swiglu_backward(const float *gate_up, const float *grad, long n, float *act, float *to) {
    for (long t = 0; t < n; t++, gate_up += 2 * I, act += I, grad += I, to += 2 * I)
        for (int k = 0; k < I; k += LANES) {
            vec gate = load(gate_up + k), up = load(gate_up + I + k), g = load(grad + k);
            vec share = sigmoid(gate), silu = gate * share;
            store(act + k, silu * up);
            store(to + k, g * up * (share + silu * (1.f - share)));
            store(to + I + k, g * silu);
        }
}

// Logits to probabilities; adds the log-probabilities of targets to the scores of rows.
static void score(const Block &block, const Table &table, long sides, float *probability,
                  float *scores) {
    for (const Row &row : block.rows) {
        float *own = scores + row.number * sides;
        for (long side = 0; side < sides; side++) own[side] = 0;
        for (int t = row.from; t < row.length; t++) {
            float *p = probability + (row.predictor + t - row.from) * V;
            for (int v = VOCABULARY; v < V; v++) p[v] = -INFINITY;
            const int64_t *target = table.targets + (row.at + t) * sides;
            float logit[2];
            for (long side = 0; side < sides; side++) logit[side] = target[side] < 0 ? 0 : p[target[side]];
            vec most = load(p), total = {};
            UNROLL for (int v = LANES; v < V; v += LANES) most = load(p + v) > most ? load(p + v) : most;
            float top = largest(most);
            UNROLL for (int v = 0; v < V; v += LANES) {
                vec e = exponential(load(p + v) - top);
                total += e;
                store(p + v, e);
            }
            float every = sum(total), log_total = top + std::log(every);
            for (long side = 0; side < sides; side++)
                if (target[side] >= 0) own[side] += logit[side] - log_total;
            UNROLL for (int v = 0; v < V; v += LANES) store(p + v, load(p + v) * (1 / every));
        }
    }
}

static void score_backward(const Block &block, const Table &table, long sides, const float *grad,
                           float *to) {
    for (const Row &row : block.rows)
        for (int t = row.from; t < row.length; t++) {
            long place = (row.predictor + t - row.from) * V;
            const int64_t *target = table.targets + (row.at + t) * sides;
            const float *own = grad + row.number * sides;
            float all = 0;
            for (long side = 0; side < sides; side++) all += target[side] < 0 ? 0 : own[side];
            UNROLL for (int v = 0; v < V; v += LANES)
                store(to + place + v, load(block.probability + place + v) * -all);
            for (long side = 0; side < sides; side++)
                if (target[side] >= 0) to[place + target[side]] += own[side];
        }
}

// One cell's pass through a block.
struct Pass {
    const Table &table;
    const float *turns;
    float epsilon;
    Weights weights;
    // of tokens: states, the MLP, attention, and their gradients
    float *h, *act, *to_h, *to_x, *to_act, *to_gate_up, *to_query, *to_key_value, *to_out, *to_own;
    Attention attention;

    void take(Memory &memory, long tokens, long longest) {
        tokens += TALL, longest = up(longest + TALL);
        weights.take(memory);
        for (float **each : {&h, &to_h, &to_x, &to_own}) *each = memory.take(tokens * W);
        for (float **each : {&act, &to_act}) *each = memory.take(tokens * I);
        for (float **each : {&to_query, &to_out}) *each = memory.take(tokens * Q);
        to_gate_up = memory.take(tokens * std::max(2 * I, V)), to_key_value = memory.take(tokens * 2 * Q);
        attention = {0, memory.take(D * longest), memory.take(longest * longest),
                     memory.take(longest * longest)};
    }
    static long size(long tokens, long longest) {
        tokens += TALL, longest = up(longest + TALL);
        return MATRICES * 2 + tokens * (4 * W + 4 * I + V + 4 * Q) + D * longest + 2 * longest * longest +
               16 * (2 * PARTS + 16);
    }

    void forward(const Block &block, long sides, const float *embedding, float *scores) {
        for (const Row &row : block.rows)
            for (int t = 0; t < row.length; t++) {
                float *to = h + (row.token + t) * W;
                memcpy(to, embedding + table.ids[row.at + t] * HIDDEN, HIDDEN * sizeof(float));
                memset(to + HIDDEN, 0, (W - HIDDEN) * sizeof(float));
            }
        for (int l = 0; l < LAYERS; l++) {
            const Kept &kept = block.layer[l];
            long n = kept.queries;
            normalise(h, block.tokens, epsilon, kept.x1, kept.scale1);
            if (l + 1 == LAYERS)
                for (const Row &row : block.rows) {
                    long count = row.length - row.from;
                    memcpy(kept.own + row.predictor * W, kept.x1 + (row.token + row.from) * W,
                           count * W * sizeof(float));
                    memmove(h + row.predictor * W, h + (row.token + row.from) * W,
                            count * W * sizeof(float));
                }
            weights.of(l, QUERY).expand(kept.own, n, kept.query);
            weights.of(l, KEY_VALUE).expand(kept.x1, block.tokens, kept.key_value);
            turn_all(block, l, table, turns, false, kept.query, kept.key_value);
            attention.l = l;
            attention.forward(block);
            weights.of(l, OUT).reduce<true>(kept.out, n, h);
            normalise(h, n, epsilon, kept.x2, kept.scale2);
            weights.of(l, GATE_UP).expand(kept.x2, n, kept.gate_up);
            swiglu(kept.gate_up, n, act);
            weights.of(l, DOWN).reduce<true>(act, n, h);
        }
        normalise(h, block.predictors, epsilon, block.x, block.scale);
        weights.matrix[HEAD_PART].expand(block.x, block.predictors, block.probability);
        score(block, table, sides, block.probability, scores);
    }

    // grads: of matrices, as they lie in memory; to_embedding: (V, W), of the tokens read
    void backward(const Block &block, long sides, const float *grad, float *const *grads,
                  float *to_embedding) {
        long n = block.predictors;
        float *to_logits = to_gate_up;
        score_backward(block, table, sides, grad, to_logits);
        add_gradient(V, to_logits, block.x, n, grads[HEAD_PART]);
        weights.matrix[HEAD_PART].reduce<false>(to_logits, n, to_x);
        memset(to_h, 0, n * W * sizeof(float));
        add_normalised(to_x, block.x, block.scale, n, to_h);
        for (int l = LAYERS - 1; l >= 0; l--) {
            const Kept &kept = block.layer[l];
            float *const *own = grads + l * KINDS;
            n = kept.queries;
            weights.of(l, DOWN).expand(to_h, n, to_act);
            swiglu_backward(kept.gate_up, to_act, n, act, to_gate_up);
            add_gradient(I, act, to_h, n, own[DOWN]);
            add_gradient(2 * I, to_gate_up, kept.x2, n, own[GATE_UP]);
            weights.of(l, GATE_UP).reduce<false>(to_gate_up, n, to_x);
            add_normalised(to_x, kept.x2, kept.scale2, n, to_h);
            add_gradient(Q, kept.out, to_h, n, own[OUT]);
            weights.of(l, OUT).expand(to_h, n, to_out);
            attention.l = l;
            attention.backward(block, to_out, to_query, to_key_value);
            turn_all(block, l, table, turns, true, to_query, to_key_value);
            add_gradient(Q, to_query, kept.own, n, own[QUERY]);
            add_gradient(2 * Q, to_key_value, kept.x1, block.tokens, own[KEY_VALUE]);
            weights.of(l, KEY_VALUE).reduce<false>(to_key_value, block.tokens, to_x);
            if (l + 1 == LAYERS) {
                weights.of(l, QUERY).reduce<false>(to_query, n, to_own);
                spread(block);
            } else {
                weights.of(l, QUERY).reduce<true>(to_query, n, to_x);
            }
            add_normalised(to_x, kept.x1, kept.scale1, block.tokens, to_h);
        }
        for (const Row &row : block.rows)
            for (int t = 0; t < row.length; t++) {
                float *to = to_embedding + table.ids[row.at + t] * W;
                for (int k = 0; k < W; k++) to[k] += to_h[(row.token + t) * W + k];
            }
    }

    // Gradients of tokens that predict to those of all tokens, from the last row on.
    void spread(const Block &block) const {
        for (auto row = block.rows.rbegin(); row != block.rows.rend(); ++row) {
            long count = (row->length - row->from) * W, place = (row->token + row->from) * W;
            for (long k = 0; k < count; k++) to_x[place + k] += to_own[row->predictor * W + k];
            memmove(to_h + place, to_h + row->predictor * W, count * sizeof(float));
            memset(to_h + row->token * W, 0, row->from * W * sizeof(float));
        }
    }
};

static thread_local Memory memory, memory_of_block;

// the most tokens of a block, and of a row; the floats that all blocks keep, and that the largest
// keeps
struct Sizes {
    long tokens = 0, longest = 0, kept = 0, largest = 0;

    Sizes(const Table &table, const int64_t *index, long rows) {
        Block block;
        while (block.fill(table, index, rows)) {
            long size = block.lay(nullptr);
            tokens = std::max(tokens, block.tokens), longest = block.longest;
            kept += size, largest = std::max(largest, size);
        }
    }
};

extern "C" {

int head_width() { return D; }

// floats to keep for each cell between the passes
long kept(const Table *table, const int64_t *index, long rows) {
    return Sizes(*table, index, rows).kept;
}

// Cells `from` to `to`: scores (cells, rows, sides) of the table's rows `index`, of weights (cells,
// WEIGHTS); keep: (cells, size), or null if no gradient is needed. turns: see `turn`.
void forward(long from, long to, const Table *table, const int64_t *index, long rows, long sides,
             const float *turns, float epsilon, const float *weights, float *keep, long size,
             float *scores) {
    Sizes sizes(*table, index, rows);
    Pass pass{*table, turns, epsilon};
    memory.start(Pass::size(sizes.tokens, sizes.longest));
    pass.take(memory, sizes.tokens, sizes.longest);
    if (!keep) memory_of_block.start(sizes.largest);
    for (long cell = from; cell < to; cell++) {
        pass.weights.read(weights + cell * WEIGHTS);
        float *place = keep ? keep + cell * size : memory_of_block.next;
        Block block;
        while (block.fill(*table, index, rows)) {
            long used = block.lay(place);
            pass.forward(block, sides, weights + cell * WEIGHTS, scores + cell * rows * sides);
            if (keep) place += used;
        }
    }
}

// grad (cells, rows, sides) -> to (cells, WEIGHTS), after `forward` of the same arguments
void backward(long from, long to, const Table *table, const int64_t *index, long rows, long sides,
              const float *turns, float epsilon, const float *weights, float *keep, long size,
              const float *grad, float *found) {
    Sizes sizes(*table, index, rows);
    Pass pass{*table, turns, epsilon};
    memory.start(Pass::size(sizes.tokens, sizes.longest) + MATRICES + V * W + 16 * PARTS);
    pass.take(memory, sizes.tokens, sizes.longest);
    float *grads[PARTS], *start = memory.next;
    for (int number = 0; number < PARTS; number++)
        grads[number] = memory.take(part(number).outer() * W);
    float *to_embedding = memory.take(V * W);
    for (long cell = from; cell < to; cell++) {
        const float *own = weights + cell * WEIGHTS;
        float *place = keep + cell * size, *to_own = found + cell * WEIGHTS;
        pass.weights.read(own);
        memset(start, 0, (memory.next - start) * sizeof(float));
        Block block;
        while (block.fill(*table, index, rows)) {
            place += block.lay(place);
            pass.backward(block, sides, grad + cell * rows * sides, grads, to_embedding);
        }
        memset(to_own, 0, WEIGHTS * sizeof(float));
        for (int number = 0; number < PARTS; number++)
            write_gradient(number, grads[number], own, to_own);
        for (int id = 0; id < VOCABULARY; id++)
            for (int k = 0; k < HIDDEN; k++) to_own[id * HIDDEN + k] += to_embedding[id * W + k];
    }
}

}  // extern "C"
