// Rotary embedding and attention of rows with a shared prefix.

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
            int from = block.first_query(l, row), queries = row.length - from;
            int wide = up(row.length);
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
    void backward(const Block &block, const float *grad, float *to_query,
                  float *to_key_value) const {
        const Kept &kept = block.layer[l];
        const float *weight = kept.weight;
        for (const Row &row : block.rows) {
            int from = block.first_query(l, row), queries = row.length - from;
            int wide = up(row.length);
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
                    product<TALL, false>(1, D, queries - i, weight + i * wide + j, 1, wide,
                                         g + i * Q, Q, false,
                                         to_key_value + place + Q + j * 2 * Q, 2 * Q);
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
