// Blocks of whole rows, and what their passes keep.

constexpr int BLOCK_TOKENS = 96;

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

// What a layer keeps for the backward pass. queries: in the last layer those of the tokens that
// predict, in others of all.
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
