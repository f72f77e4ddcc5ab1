// Peak multiply-add rate of the processor: independent sums, all in registers.

typedef float vec __attribute__((vector_size(VECTOR_BYTES)));
constexpr int SUMS = 12;

extern "C" long flops_per_round() { return 2L * SUMS * (VECTOR_BYTES / sizeof(float)); }

extern "C" float multiply_add(long rounds, float by) {
    vec sum[SUMS], factor = vec{} + by;
    for (int k = 0; k < SUMS; k++) sum[k] = vec{} + k * by;
    for (long round = 0; round < rounds; round++)
        for (int k = 0; k < SUMS; k++) sum[k] = sum[k] * factor + factor;
    for (int k = 1; k < SUMS; k++) sum[0] += sum[k];
    return sum[0][0];
}
