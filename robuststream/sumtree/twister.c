/* The numbers of torch.rand in plain C: called through ctypes, knows neither Python nor torch. */
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define BEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define BEST
#endif
#define SMALLER(a, b) ((a) < (b) ? (a) : (b))

/* The beginning of a state of torch's CPU generator: MT19937. `left` - 1 words are unread, the first of them at `next`. */
#define WORDS 624
#define FAR 397
typedef struct {
    uint64_t seed;
    int32_t left, seeded;
    uint64_t next, word[WORDS];
} twister;

#define TWIST(w, i, next, far) \
    w[i] = w[far] ^ ((w[i] & 0x80000000u) | (w[next] & 0x7fffffffu)) >> 1 ^ (-(w[next] & 1u) & 0x9908b0dfu)

static inline double number(uint64_t bits) {
    double same;
    memcpy(&same, &bits, 8);
    return same;
}

/* 21 bits of one word above 32 of another, in units of 2^-53. Processors have no such conversion of many at a time, so the words
 * become the last digits of 2^84 and of 2^52, which are then taken away; nothing is rounded. */
static inline double unit(uint32_t high, uint32_t low) {
    double above = number(0x4530000000000000 | (high & 0x1fffffu)), below = number(0x4330000000000000 | low);
    return (above - (0x1p84 + 0x1p52) + below) * 0x1p-53;
}

/* n numbers as torch.rand makes them in float64 from a CPU generator whose state this is, and the state after them. */
BEST void sumtree_uniform(twister *s, int64_t n, double *r) {
    uint32_t word[WORDS], read[WORDS + 1];
    int64_t odd = 0, left = s->left, next = (int64_t)s->next;
    for (int i = 0; i < WORDS; i++)
        word[i] = (uint32_t)s->word[i];
    while (n > 0) {
        if (left == 1) {
            for (int i = 0; i < WORDS - FAR; i++)
                TWIST(word, i, i + 1, i + FAR);
            for (int i = WORDS - FAR; i < WORDS - 1; i++)
                TWIST(word, i, i + 1, i + FAR - WORDS);
            TWIST(word, WORDS - 1, 0, FAR - 1);
            left = WORDS + 1; /* torch counts one down before it reads the first */
            next = 0;
        }
        int64_t m = SMALLER(left - 1, 2 * n - odd), pairs = (odd + m) / 2;
        for (int64_t i = 0; i < m; i++) {
            uint32_t x = word[next + i];
            x ^= x >> 11;
            x ^= x << 7 & 0x9d2c5680u;
            x ^= x << 15 & 0xefc60000u;
            read[odd + i] = x ^ x >> 18;
        }
        for (int64_t i = 0; i < pairs; i++)
            r[i] = unit(read[2 * i], read[2 * i + 1]);
        read[0] = read[2 * pairs]; /* where their number is odd */
        odd = odd + m - 2 * pairs;
        left -= m;
        next += m;
        r += pairs;
        n -= pairs;
    }
    for (int i = 0; i < WORDS; i++)
        s->word[i] = word[i];
    s->left = (int32_t)left;
    s->next = (uint64_t)next;
}
