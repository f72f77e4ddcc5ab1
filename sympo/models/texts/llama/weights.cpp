// The weights of a cell as matrices with all widths padded to whole vectors by zeros, and their
// gradients back.
//
// Macros: HIDDEN, INTERMEDIATE, LAYERS, HEADS, HEAD, VOCABULARY.

// padded widths: of states, of a head, of all heads, of the MLP, of the vocabulary
constexpr int W = up(HIDDEN), D = up(HEAD), Q = HEADS * D, I = up(INTERMEDIATE), V = up(VOCABULARY);

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

// Where a matrix is in the weights of a cell: its rows in groups, each padded; gain: the norm
// before it, which scales its columns, or -1; transposed: stored as HIDDEN x rows.
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
