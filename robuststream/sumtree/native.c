/* The sum tree's walk in plain C: called through ctypes, knows neither Python nor torch.
 *
 * A tree is a pile of layers. Layer 0 holds the N leaves, and entry i of layer k + 1 the sum of entries 32 i to 32 i + 31 of layer k.
 * The last layer (at most 1024 entries) is kept as running sums as well. All sums are taken in float64, from the first child to the
 * last: the order that torch's cumsum has on the CPU, so both backends hold the same bits and draw the same indices.
 * Rows are added up side by side, one in each lane, because one row alone would wait for each of its additions. How many lanes pay
 * differs between processors, so the walk below is compiled once for each: this file includes itself.
 */
#ifndef LANES

#include <stdint.h>
#include <string.h>

#define FANOUT 32
#define SHIFT 5
#define BLOCK 64 /* draws that go down together: each layer's rows are on their way from memory while the layer above is searched */
#define SIDE 2   /* times LANES rows at once: one addition need not wait for the other */
#define AHEAD 24 /* rows between asking memory for a row and reading it */
#define MANY 2048
#define MOST_LAYERS 8

typedef struct {
    int64_t variant;             /* 0 portable, 1 AVX2, 2 AVX-512 */
    int64_t narrow;              /* leaves are float, else double */
    int64_t depth;               /* layers */
    int64_t length[MOST_LAYERS]; /* entries of each layer, without padding */
    void *layer[MOST_LAYERS];    /* all but the last are padded with zeros to a multiple of FANOUT */
    double *edges;               /* running sums of the last layer */
    int64_t *uniform_draws, *repaired;
    double smallest, largest; /* what a positive leaf may hold */
} tree;

#define INLINE static inline __attribute__((always_inline))
#define SMALLER(a, b) ((a) < (b) ? (a) : (b))
#define JOIN(a, b) a##_##b
#define NAMED(a, b) JOIN(a, b)
#define IN(name) NAMED(name, VARIANT)

INLINE uint64_t bits(double x) {
    uint64_t same;
    memcpy(&same, &x, 8);
    return same;
}

INLINE void fetch(const void *layer, int narrow, int64_t row) {
    int bytes = (narrow ? 4 : 8) * FANOUT;
    for (int i = 0; i < bytes; i += 64)
        __builtin_prefetch((const char *)layer + row * bytes + i);
}

typedef uint64_t loose_bits __attribute__((may_alias));

/* Entries of the last layer: bisections of its running sums, four side by side, without branches that could be guessed wrong.
 * Numbers that are not negative are ordered as their bits are. */
INLINE void search_top(const double *edges, int64_t width, const double *r, int64_t *at, int64_t n) {
    for (int64_t i = 0; i < n; i += 4) {
        const loose_bits *from[4];
        uint64_t target[4];
        for (int k = 0; k < 4; k++) { /* the last four repeat the last */
            from[k] = (const loose_bits *)edges;
            target[k] = bits((1.0 - r[SMALLER(i + k, n - 1)]) * edges[width - 1]);
        }
        for (int64_t left = width; left > 1; left -= left / 2)
            for (int k = 0; k < 4; k++)
                from[k] += left / 2 & -(int64_t)(from[k][left / 2 - 1] < target[k]);
        for (int k = 0; k < 4 && i + k < n; k++)
            at[i + k] = from[k] - (const loose_bits *)edges;
    }
}

/* Running sums of each row of a layer, a few rows side by side. */
INLINE void run_up(const void *layer, int narrow, int64_t rows, double *sums) {
    for (int64_t i = 0; i < rows; i += 4) {
        double sum[4] = {0};
        for (int64_t c = 0; c < FANOUT; c++)
            for (int64_t k = 0; k < 4; k++) { /* the last few repeat the last */
                int64_t place = SMALLER(i + k, rows - 1) * FANOUT + c;
                sums[place] = sum[k] += narrow ? ((const float *)layer)[place] : ((const double *)layer)[place];
            }
    }
}

/* What is searched once an entry of layer k is found, and whether it is of floats: running sums where they lie ready. */
INLINE const void *below(const tree *s, const double *const *sums, int64_t k, int *narrow) {
    *narrow = s->narrow && k == 1 && !sums[0];
    return k == 0 ? 0 : sums[k - 1] ? (const void *)sums[k - 1] : s->layer[k - 1];
}

typedef double pair __attribute__((vector_size(16)));
typedef double quad __attribute__((vector_size(32)));
typedef double loose __attribute__((may_alias, aligned(4)));
typedef double loose_pair __attribute__((vector_size(16), may_alias, aligned(8)));
#define FLOATS(k) (*(const loose *)(row[k] + c * 4))       /* two of them */
#define DOUBLES(k) (*(const loose_pair *)(row[k] + c * 8)) /* two of them */
#define BESIDE(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3)
#ifdef __has_builtin
#define SHUFFLES __has_builtin(__builtin_shufflevector)
#else
#define SHUFFLES 0
#endif

#define VARIANT portable
#define LANES 2
#define TARGET
#include "native.c"
#if defined(__x86_64__)
#define VARIANT avx2
#define LANES 4
#define TARGET __attribute__((target("avx2")))
#include "native.c"
#define VARIANT avx512
#define LANES 8
#define TARGET __attribute__((target("avx512f,avx512dq")))
#include "native.c"
#define CHOOSE(s, function, ...) \
    ((s)->variant == 2 ? function##_avx512 : (s)->variant == 1 ? function##_avx2 : function##_portable)(__VA_ARGS__)
/* The best variant that this processor runs. */
int64_t sumtree_variant(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512dq") ? 2 : __builtin_cpu_supports("avx2") ? 1 : 0;
}
#else
#define CHOOSE(s, function, ...) function##_portable(__VA_ARGS__)
int64_t sumtree_variant(void) { return 0; }
#endif

/* Tells a library of another version from this one. */
int64_t sumtree_layout(void) { return 3000 + (int64_t)sizeof(tree); }

void sumtree_rebuild(const tree *s) { CHOOSE(s, add_all_up, s, 0, 0); }

/* n leaves, each by its own column of r (depth, n), uniform in [0, 1). `room` is for the running sums of all layers of at most 2 n
 * entries. */
void sumtree_draw(const tree *s, int64_t n, const double *r, int64_t *at, double *room) {
    if (s->edges[s->length[s->depth - 1] - 1] > 0.0) {
        CHOOSE(s, draw, s, n, r, at, room);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        at[i] = (int64_t)(r[i] * (double)s->length[0]);
    ++*s->uniform_draws;
}

/* Of many, those that were asked for first would have left the cache again before their turn. */
#define SOON(leaf)                           \
    if (n > MANY && i + AHEAD < n)           \
        __builtin_prefetch(leaf + index[i + AHEAD], 1);

/* Leaves in two passes, clear and then keep the largest, so that the order of repeats does not matter. Without a branch, which would be
 * guessed wrong whenever an index repeats. */
#define WRITE(T)                                                                      \
    T *leaf = s->layer[0];                                                            \
    for (int64_t i = 0; i < n; i++) {                                                 \
        SOON(leaf)                                                                    \
        leaf[index[i]] = 0;                                                           \
    }                                                                                 \
    for (int64_t i = 0; i < n; i++) {                                                 \
        SOON(leaf)                                                                    \
        T given = ((const T *)values)[i], kept = given >= (T)s->smallest ? given : 0; \
        kept = kept > (T)s->largest ? (T)s->largest : kept;                           \
        repaired += given != kept; /* not-a-number differs from everything */         \
        leaf[index[i]] = kept > leaf[index[i]] ? kept : leaf[index[i]];               \
    }

/* Returns the place of the first index outside 0..N-1, before anything was written, or -1 when all is done. */
int64_t sumtree_update(const tree *s, int64_t n, const int64_t *index, const void *values) {
    int64_t repaired = 0;
    for (int64_t i = 0; i < n; i++) {
        if ((uint64_t)index[i] >= (uint64_t)s->length[0])
            return i;
        for (int64_t k = 0; n <= MANY && k < s->depth - 1; k++) /* all rows at once: one wait for all of them */
            if (s->length[k + 1] > n)
                fetch(s->layer[k], s->narrow && k == 0, index[i] >> (SHIFT * (k + 1)));
    }
    if (s->narrow) {
        WRITE(float)
    } else {
        WRITE(double)
    }
    *s->repaired += repaired;
    CHOOSE(s, add_all_up, s, index, n);
    return -1;
}

#else /* the walk, with VARIANT, LANES and TARGET set */

typedef double IN(lanes) __attribute__((vector_size(LANES * 8)));
typedef int64_t IN(counts) __attribute__((vector_size(LANES * 8)));
typedef float IN(floats) __attribute__((vector_size(LANES * 4)));

/* Children c and c + 1 of LANES rows, a row in each lane: pairs are loaded whole, and even and odd children then told apart. */
TARGET INLINE void IN(two_children)(const char *const *row, int narrow, int c, IN(lanes) *even, IN(lanes) *odd) {
#if LANES == 8 && SHUFFLES
    if (narrow) {
        IN(floats) a = (IN(floats))(quad){FLOATS(0), FLOATS(1), FLOATS(4), FLOATS(5)};
        IN(floats) b = (IN(floats))(quad){FLOATS(2), FLOATS(3), FLOATS(6), FLOATS(7)};
        *even = __builtin_convertvector(__builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14), IN(lanes));
        *odd = __builtin_convertvector(__builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15), IN(lanes));
    } else {
        quad a = BESIDE(DOUBLES(0), DOUBLES(2)), b = BESIDE(DOUBLES(1), DOUBLES(3));
        quad a2 = BESIDE(DOUBLES(4), DOUBLES(6)), b2 = BESIDE(DOUBLES(5), DOUBLES(7));
        IN(lanes) x = __builtin_shufflevector(a, a2, 0, 1, 2, 3, 4, 5, 6, 7);
        IN(lanes) y = __builtin_shufflevector(b, b2, 0, 1, 2, 3, 4, 5, 6, 7);
        *even = __builtin_shufflevector(x, y, 0, 8, 2, 10, 4, 12, 6, 14);
        *odd = __builtin_shufflevector(x, y, 1, 9, 3, 11, 5, 13, 7, 15);
    }
#elif LANES == 4 && SHUFFLES
    if (narrow) {
        IN(floats) a = (IN(floats))(pair){FLOATS(0), FLOATS(1)}, b = (IN(floats))(pair){FLOATS(2), FLOATS(3)};
        *even = __builtin_convertvector(__builtin_shufflevector(a, b, 0, 2, 4, 6), IN(lanes));
        *odd = __builtin_convertvector(__builtin_shufflevector(a, b, 1, 3, 5, 7), IN(lanes));
    } else {
        quad a = BESIDE(DOUBLES(0), DOUBLES(2)), b = BESIDE(DOUBLES(1), DOUBLES(3));
        *even = __builtin_shufflevector(a, b, 0, 4, 2, 6);
        *odd = __builtin_shufflevector(a, b, 1, 5, 3, 7);
    }
#else
    for (int k = 0; k < LANES; k++) {
        (*even)[k] = narrow ? ((const float *)row[k])[c] : ((const double *)row[k])[c];
        (*odd)[k] = narrow ? ((const float *)row[k])[c + 1] : ((const double *)row[k])[c + 1];
    }
#endif
}

/* at[i]: entry of the layer above -> entry of this one: the first child whose running sum reaches (1 - r[i]) of the row's total.
 * 1 - r lies in (0, 1], so that a target is never 0 and never beyond the total: a child of zero cannot be met.
 * `next` is the layer below, or null. */
TARGET INLINE void IN(descend)(const void *layer, int narrow, const double *above, const double *r, int64_t *at, int64_t n,
                               const void *next, int next_narrow) {
    for (int64_t i = 0; i < n; i += SIDE * LANES) {
        const char *row[SIDE * LANES];
        IN(lanes) target[SIDE], sum[SIDE] = {{0}}, even = {0}, odd = {0};
        IN(counts) below[SIDE] = {{0}};
        for (int k = 0; k < SIDE * LANES; k++) { /* the last group repeats its last row */
            int64_t j = SMALLER(i + k, n - 1);
            row[k] = (const char *)layer + at[j] * (FANOUT * (narrow ? 4 : 8));
            target[k / LANES][k % LANES] = (1.0 - r[j]) * above[at[j]];
        }
        for (int c = 0; c < FANOUT; c += 2) {
            for (int g = 0; g < SIDE; g++) {
                IN(two_children)(row + g * LANES, narrow, c, &even, &odd);
                sum[g] += even;
                below[g] -= (IN(counts))(sum[g] < target[g]); /* true is -1 */
                sum[g] += odd;
                below[g] -= (IN(counts))(sum[g] < target[g]);
            }
        }
        for (int k = 0; k < SIDE * LANES && i + k < n; k++) { /* the mask keeps a tree that was written to by hand inside its row */
            at[i + k] = (at[i + k] << SHIFT) + (below[k / LANES][k % LANES] & (FANOUT - 1));
            if (next)
                fetch(next, next_narrow, at[i + k]);
        }
    }
}

/* The same where the running sums of the layer's rows lie ready: how many of them do not reach the target. */
TARGET INLINE void IN(count)(const double *sums, const double *r, int64_t *at, int64_t n, const void *next, int next_narrow) {
    typedef IN(lanes) loose_lanes __attribute__((may_alias, aligned(8)));
    for (int64_t i = 0; i < n; i++) {
        const double *row = sums + at[i] * FANOUT;
        IN(lanes) target = (IN(lanes)){0} + (1.0 - r[i]) * row[FANOUT - 1];
        IN(counts) below = {0};
        for (int c = 0; c < FANOUT; c += LANES)
            below -= (IN(counts))(*(const loose_lanes *)(row + c) < target); /* true is -1 */
        int64_t child = below[0];
        for (int k = 1; k < LANES; k++)
            child += below[k];
        at[i] = (at[i] << SHIFT) + (child & (FANOUT - 1));
        if (next)
            fetch(next, next_narrow, at[i]);
    }
}

/* Totals of rows: of index[i] >> shift for all n, or of rows 0 to n - 1 where index is null. Repeats write the same total. */
TARGET INLINE void IN(add_up)(const void *layer, int narrow, double *above, const int64_t *index, int shift, int64_t n) {
    for (int64_t i = 0; index && i < SMALLER(n, AHEAD); i++)
        fetch(layer, narrow, index[i] >> shift);
    for (int64_t i = 0; i < n; i += SIDE * LANES) {
        int64_t which[SIDE * LANES];
        const char *row[SIDE * LANES];
        IN(lanes) sum[SIDE] = {{0}}, even = {0}, odd = {0};
        for (int k = 0; k < SIDE * LANES; k++) {
            int64_t j = SMALLER(i + k, n - 1);
            which[k] = index ? index[j] >> shift : j;
            row[k] = (const char *)layer + which[k] * (FANOUT * (narrow ? 4 : 8));
            if (index && i + k + AHEAD < n)
                fetch(layer, narrow, index[i + k + AHEAD] >> shift);
        }
        for (int c = 0; c < FANOUT; c += 2) {
            for (int g = 0; g < SIDE; g++) {
                IN(two_children)(row + g * LANES, narrow, c, &even, &odd);
                sum[g] += even;
                sum[g] += odd;
            }
        }
        for (int k = 0; k < SIDE * LANES; k++)
            above[which[k]] = sum[k / LANES][k % LANES];
    }
}

/* Sums above the touched leaves; of a layer that has no more rows than n, all of them, which is less work. */
TARGET static void IN(add_all_up)(const tree *s, const int64_t *index, int64_t n) {
    int64_t top = s->depth - 1;
    double sum = 0.0;
    for (int64_t k = 0; k < top; k++) {
        int64_t rows = s->length[k + 1], all = !index || rows <= n;
        if (k == 0 && s->narrow)
            IN(add_up)(s->layer[k], 1, s->layer[k + 1], all ? 0 : index, SHIFT, all ? rows : n);
        else
            IN(add_up)(s->layer[k], 0, s->layer[k + 1], all ? 0 : index, (int)(SHIFT * (k + 1)), all ? rows : n);
    }
    for (int64_t i = 0; i < s->length[top]; i++) {
        sum += top == 0 && s->narrow ? ((const float *)s->layer[top])[i] : ((const double *)s->layer[top])[i];
        s->edges[i] = sum;
    }
}

/* Where many are drawn from a small layer, all its running sums are taken first: 2 n entries cost less than n rows do. */
TARGET static void IN(draw)(const tree *s, int64_t n, const double *r, int64_t *at, double *room) {
    int64_t top = s->depth - 1;
    const double *sums[MOST_LAYERS] = {0};
    for (int64_t k = top - 1; k >= 0 && s->length[k] <= 2 * n; k--) {
        run_up(s->layer[k], s->narrow && k == 0, s->length[k + 1], room);
        sums[k] = room;
        room += s->length[k + 1] * FANOUT;
    }
    for (int64_t i = 0; i < n; i += BLOCK, at += BLOCK, r += BLOCK) {
        int64_t m = SMALLER(n - i, BLOCK);
        int narrow;
        const void *next = below(s, sums, top, &narrow);
        search_top(s->edges, s->length[top], r, at, m);
        for (int64_t j = 0; j < m && next; j++)
            fetch(next, narrow, at[j]);
        for (int64_t k = top - 1; k >= 0; k--) {
            const double *fresh = r + (top - k) * n;
            next = below(s, sums, k, &narrow);
            if (sums[k])
                IN(count)(sums[k], fresh, at, m, next, narrow);
            else if (k == 0 && s->narrow)
                IN(descend)(s->layer[0], 1, s->layer[1], fresh, at, m, 0, 0);
            else
                IN(descend)(s->layer[k], 0, s->layer[k + 1], fresh, at, m, next, narrow);
        }
    }
}

#undef VARIANT
#undef LANES
#undef TARGET
#endif
