// The processor's vector registers, for the files that are read after this one.

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

