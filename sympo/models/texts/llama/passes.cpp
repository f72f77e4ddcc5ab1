// Log-probabilities of responses under small Llamas, forward and backward, cell by cell.
//
// A block is a few whole rows without padding, so that its activations stay in cache while it
// passes through all layers; the weights of a cell stay in L2. Products compute whole tiles: the
// arrays of a block have room for a few more rows, which no result depends on.

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
static void add_normalised(const float *grad, const float *x, const float *scale, long n,
                           float *to) {
    for (long t = 0; t < n; t++, grad += W, x += W, to += W) {
        vec dot = {};
        UNROLL for (int k = 0; k < W; k += LANES) dot += load(grad + k) * load(x + k);
        float along = sum(dot) / HIDDEN;
        UNROLL for (int k = 0; k < W; k += LANES)
            store(to + k, load(to + k) + (load(grad + k) - load(x + k) * along) * scale[t]);
    }
}

// act = silu(gate) * up
static void swiglu(const float *gate_up, long n, float *act) {
    for (long t = 0; t < n; t++, gate_up += 2 * I, act += I)
        for (int k = 0; k < I; k += LANES) {
            vec gate = load(gate_up + k);
            store(act + k, gate * sigmoid(gate) * load(gate_up + I + k));
        }
}

// grad of act -> of gate and up; act again
static void swiglu_backward(const float *gate_up, const float *grad, long n, float *act,
                            float *to) {
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
        double totals[2] = {};
        for (int t = row.from; t < row.length; t++) {
            float *p = probability + (row.predictor + t - row.from) * V;
            for (int v = VOCABULARY; v < V; v++) p[v] = -INFINITY;
            const int64_t *target = table.targets + (row.at + t) * sides;
            float logit[2];
            for (long side = 0; side < sides; side++)
                logit[side] = target[side] < 0 ? 0 : p[target[side]];
            vec most = load(p), total = {};
            UNROLL for (int v = LANES; v < V; v += LANES)
                most = load(p + v) > most ? load(p + v) : most;
            float top = largest(most);
            UNROLL for (int v = 0; v < V; v += LANES) {
                vec e = exponential(load(p + v) - top);
                total += e;
                store(p + v, e);
            }
            float every = sum(total), log_total = top + std::log(every);
            for (long side = 0; side < sides; side++)
                if (target[side] >= 0) totals[side] += logit[side] - log_total;
            UNROLL for (int v = 0; v < V; v += LANES) store(p + v, load(p + v) * (1 / every));
        }
        for (long side = 0; side < sides; side++)
            scores[row.number * sides + side] = (float)totals[side];
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
        to_gate_up = memory.take(tokens * std::max(2 * I, V));
        to_key_value = memory.take(tokens * 2 * Q);
        attention = {0, memory.take(D * longest), memory.take(longest * longest),
                     memory.take(longest * longest)};
    }
    static long size(long tokens, long longest) {
        tokens += TALL, longest = up(longest + TALL);
        // each part begins at a whole cache line
        return MATRICES * 2 + tokens * (4 * W + 4 * I + V + 4 * Q) + D * longest +
               2 * longest * longest + 16 * (2 * PARTS + 16);
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
