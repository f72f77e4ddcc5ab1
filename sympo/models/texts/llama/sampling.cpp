// Sampling with a cache of keys and values. All slots read one token at a time, of a prompt or the
// last drawn, so that a slot whose response has ended begins the next prompt at once.

constexpr int SLOTS = 4 * TALL;

struct Slot {
    long sequence, place, drawn;  // place: of the token that is read; drawn: tokens so far
};

struct Sampler {
    const float *turns;
    float epsilon;
    long space;  // places of a cache, whole vectors
    Weights weights = {};
    float *h = {}, *x = {}, *scale = {}, *query = {}, *key_value = {}, *out = {}, *gate_up = {};
    float *act = {}, *logits = {}, *score = {}, *bias = {}, *keys = {}, *values = {};

    long cache() const { return (long)LAYERS * SLOTS * Q * space; }
    long size() const {
        return 2 * MATRICES + SLOTS * (2 * W + 1 + 4 * Q + 3 * I + V) + 3 * space + 2 * cache() +
               16 * (2 * PARTS + 16);
    }
    void take(Memory &memory) {
        weights.take(memory);
        h = memory.take(SLOTS * W), x = memory.take(SLOTS * W), scale = memory.take(SLOTS);
        query = memory.take(SLOTS * Q), key_value = memory.take(SLOTS * 2 * Q);
        out = memory.take(SLOTS * Q), gate_up = memory.take(SLOTS * 2 * I);
        act = memory.take(SLOTS * I), logits = memory.take(SLOTS * V);
        score = memory.take(space), bias = memory.take(2 * space);
        keys = memory.take(cache()), values = memory.take(cache());
        // read from bias + space - n: 0 for n places, then -infinity
        for (long j = 0; j < 2 * space; j++) bias[j] = j < space ? 0 : -INFINITY;
    }

    // row m attends to the places of its slot, to the new one, too
    void attend(int l, long m, long slot, long place) const {
        float *q = query + m * Q, *k = key_value + m * 2 * Q;
        turn(q, turns + place * 2 * D, false), turn(k, turns + place * 2 * D, false);
        float *key = keys + (l * SLOTS + slot) * Q * space;  // (Q, space)
        float *value = values + (l * SLOTS + slot) * Q * space;  // (space, Q)
        for (int d = 0; d < Q; d++) key[d * space + place] = k[d];
        memcpy(value + place * Q, k + Q, Q * sizeof(float));
        int used = up(place + 1);
        for (int head = 0; head < HEADS; head++) {
            product<1, false>(1, used, HEAD, q + head * D, 0, 1, key + head * D * space, space,
                              false, score, 0);
            Attention::softmax(score, bias + space - place - 1, used, used);
            product<1, false>(1, D, place + 1, score, 0, 1, value + head * D, Q, false,
                              out + m * Q + head * D, 0);
        }
    }

    // logits of the tokens in h, one of each slot
    void read(const long *slot, const long *place, long n) {
        for (int l = 0; l < LAYERS; l++) {
            normalise(h, n, epsilon, x, scale);
            weights.of(l, QUERY).expand(x, n, query);
            weights.of(l, KEY_VALUE).expand(x, n, key_value);
            for (long m = 0; m < n; m++) attend(l, m, slot[m], place[m]);
            weights.of(l, OUT).reduce<true>(out, n, h);
            normalise(h, n, epsilon, x, scale);
            weights.of(l, GATE_UP).expand(x, n, gate_up);
            swiglu(gate_up, n, act);
            weights.of(l, DOWN).reduce<true>(act, n, h);
        }
        normalise(h, n, epsilon, x, scale);
        weights.matrix[HEAD_PART].expand(x, n, logits);
    }
};

// argmax of p / noise, and log p of it
static long draw(float *logit, const float *noise, double *log_probability) {
    float top = logit[0], total = 0, best = 0;
    for (int v = 1; v < VOCABULARY; v++) top = logit[v] > top ? logit[v] : top;
    float e[V];
    for (int v = VOCABULARY; v < V; v++) logit[v] = -INFINITY;
    for (int v = 0; v < V; v += LANES) store(e + v, exponential(load(logit + v) - top));
    for (int v = 0; v < VOCABULARY; v++) total += e[v];
    long found = 0;
    for (int v = 0; v < VOCABULARY; v++) {
        float ratio = e[v] / total / noise[v];
        if (ratio > best) best = ratio, found = v;
    }
    *log_probability += logit[found] - top - std::log(total);
    return found;
}

extern "C" {

// Cells `from` to `to`: one response to each of n prompts, ids with offsets (n + 1,). noise:
// (steps, n, VOCABULARY), shared by cells. found: (cells, n, steps), `pad` after `end`;
// log_probability: (cells, n), of the tokens up to `end`.
void sample(long from, long to, const int64_t *ids, const int64_t *offset, long n, long steps,
            long end, long pad, const float *turns, float epsilon, const float *weights,
            const float *noise, int64_t *found, double *log_probability) {
    long longest = 0;
    for (long i = 0; i < n; i++) longest = std::max(longest, offset[i + 1] - offset[i]);
    Sampler sampler{turns, epsilon, up(longest + steps)};
    memory.start(sampler.size());
    sampler.take(memory);
    for (long cell = from; cell < to; cell++) {
        const float *own = weights + cell * WEIGHTS;
        int64_t *made = found + cell * n * steps;
        double *total = log_probability + cell * n;
        sampler.weights.read(own);
        memset(sampler.keys, 0, sampler.cache() * sizeof(float));
        std::fill(made, made + n * steps, pad);
        std::fill(total, total + n, 0.);
        Slot slots[SLOTS];
        long next = 0;
        for (Slot &slot : slots) slot = {next < n ? next++ : -1, 0, 0};
        for (;;) {
            long active[SLOTS], places[SLOTS], count = 0;
            for (long s = 0; s < SLOTS; s++) {
                const Slot &slot = slots[s];
                if (slot.sequence < 0) continue;
                long i = slot.sequence, prompt = offset[i + 1] - offset[i];
                long id = slot.place < prompt ? ids[offset[i] + slot.place]
                                              : made[i * steps + slot.place - prompt];
                float *row = sampler.h + count * W;
                memcpy(row, own + id * HIDDEN, HIDDEN * sizeof(float));
                memset(row + HIDDEN, 0, (W - HIDDEN) * sizeof(float));
                active[count] = s, places[count++] = slot.place;
            }
            if (!count) break;
            sampler.read(active, places, count);
            for (long m = 0; m < count; m++) {
                Slot &slot = slots[active[m]];
                long i = slot.sequence;
                if (++slot.place < offset[i + 1] - offset[i]) continue;
                long id = draw(sampler.logits + m * V, noise + (slot.drawn * n + i) * VOCABULARY,
                               total + i);
                made[i * steps + slot.drawn++] = id;
                if (id == end || slot.drawn == steps) slot = {next < n ? next++ : -1, 0, 0};
            }
        }
    }
}

}  // extern "C"
