/* Entropies of predictions in plain C: called through ctypes, knows neither Python nor torch.
 *
 * With d = x - max and Z = sum of exp(d), the entropy of softmax(x) is log Z - sum of d exp(d) / Z: two terms that are not negative,
 * so nothing cancels, and even that of a prediction which is all but certain is right to the last digit of a float. In float64,
 * four examples side by side, each in its own lane, so that a row's bits depend on nothing but the row, on any processor.
 */
#include <stdint.h>

#define SIDE 4
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define BEST __attribute__((target_clones("avx2", "default")))
#else
#define BEST
#endif
#define INLINE static inline __attribute__((always_inline))

typedef double lanes __attribute__((vector_size(SIDE * 8)));
typedef int64_t bits __attribute__((vector_size(SIDE * 8))); /* a comparison gives all ones where it is true */

INLINE lanes choose(bits which, lanes a, lanes b) { return (lanes)(((bits)a & which) | ((bits)b & ~which)); }

/* exp(d) for d <= 0, right to 3e-10: 2^n by the exponent's bits, times a polynomial of what is left of at most log(2) / 2. */
INLINE lanes power(lanes d) {
    d = choose(d > -700.0, d, d - d - 700.0);
    lanes shifted = d * 0x1.71547652b82fep+0 + 0x1.8p52, n = shifted - 0x1.8p52;
    lanes t = d - n * 0x1.62e42feep-1 - n * 0x1.a39ef35793c76p-33;
    lanes p = t * (1.0 / 40320.0) + 1.0 / 5040.0;
    p = p * t + 1.0 / 720.0;
    p = p * t + 1.0 / 120.0;
    p = p * t + 1.0 / 24.0;
    p = p * t + 1.0 / 6.0;
    p = p * t + 0.5;
    p = p * t + 1.0;
    p = p * t + 1.0;
    return (lanes)((bits)p + ((bits)shifted << 52));
}

/* log(1 + z) for z >= 0, right to 1e-10 of itself: 1 + z = 2^n m, m in [1/sqrt 2, sqrt 2), and log m by the series of artanh. */
INLINE lanes logarithm(lanes z) {
    bits whole = (bits)(1.0 + z) + 0x95f619980c433; /* 1 less sqrt 2 / 2 */
    lanes n = (lanes)((whole >> 52) | 0x4330000000000000) - (0x1p52 + 1023.0);
    lanes f = choose(n > 0.0, (lanes)((whole & 0xfffffffffffff) + 0x3fe6a09e667f3bcd) - 1.0, z);
    lanes s = f / (2.0 + f), q = s * s;
    lanes p = q * (1.0 / 13.0) + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 0.2;
    p = p * q + 1.0 / 3.0;
    return n * 0x1.62e42fefa39efp-1 + 2.0 * s * (p * q + 1.0);
}

INLINE lanes column(const float *const *row, int64_t c) {
    return (lanes){row[0][c], row[1][c], row[2][c], row[3][c]};
}

/* n rows of K logits -> n entropies in nats. Returns how many came out as no number or infinite: those of rows where a logit is. */
BEST int64_t entropies(int64_t n, int64_t K, const float *logits, float *out) {
    int64_t spoilt = 0;
    for (int64_t i = 0; i < n; i += SIDE) {
        const float *row[SIDE];
        for (int k = 0; k < SIDE; k++)
            row[k] = logits + (i + k < n ? i + k : n - 1) * K; /* the last few repeat the last row */
        lanes top = column(row, 0), rest = {0}, largest = {0}, product = {0};
        for (int64_t c = 1; c < K; c++) {
            lanes x = column(row, c);
            top = choose(x > top, x, top);
        }
        for (int64_t c = 0; c < K; c++) {
            lanes d = column(row, c) - top, e = power(d);
            rest += choose(d < 0.0, e, 0.0 * d); /* apart from the largest, each a 1, beside which small numbers would vanish */
            largest -= __builtin_convertvector(d >= 0.0, lanes);
            product += e * d;
        }
        lanes z = rest + (largest - 1.0), entropy = logarithm(z) - product / (1.0 + z);
        for (int k = 0; k < SIDE && i + k < n; k++) {
            out[i + k] = (float)entropy[k];
            spoilt += entropy[k] - entropy[k] != 0.0;
        }
    }
    return spoilt;
}

/* Tells a library of another version from this one. */
int64_t entropies_version(void) { return 2; }
