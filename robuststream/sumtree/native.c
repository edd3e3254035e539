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

#define FANOUT 32
#define SHIFT 5
#define AHEAD 24 /* rows between asking memory for a row and reading it */
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

INLINE void fetch(const void *layer, int narrow, int64_t row) {
    int bytes = (narrow ? 4 : 8) * FANOUT;
    for (int i = 0; i < bytes; i += 64)
        __builtin_prefetch((const char *)layer + row * bytes + i);
}

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
int64_t sumtree_layout(void) { return 1000 + (int64_t)sizeof(tree); }

void sumtree_rebuild(const tree *s) { CHOOSE(s, add_all_up, s, 0, 0); }

/* n leaves, each by its own column of r (depth, n), uniform in [0, 1). */
void sumtree_draw(const tree *s, int64_t n, const double *r, int64_t *at) {
    if (s->edges[s->length[s->depth - 1] - 1] > 0.0) {
        CHOOSE(s, draw, s, n, r, at);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        at[i] = (int64_t)(r[i] * (double)s->length[0]);
    ++*s->uniform_draws;
}

/* Leaves in two passes, clear and then keep the largest, so that the order of repeats does not matter. */
#define WRITE(T)                                                                      \
    T *leaf = s->layer[0];                                                            \
    for (int64_t i = 0; i < n; i++)                                                   \
        leaf[index[i]] = 0;                                                           \
    for (int64_t i = 0; i < n; i++) {                                                 \
        T given = ((const T *)values)[i], kept = given >= (T)s->smallest ? given : 0; \
        kept = kept > (T)s->largest ? (T)s->largest : kept;                           \
        repaired += given != kept; /* not-a-number differs from everything */         \
        if (kept > leaf[index[i]])                                                    \
            leaf[index[i]] = kept;                                                    \
    }

/* Returns the place of the first index outside 0..N-1, before anything was written, or -1 when all is done. */
int64_t sumtree_update(const tree *s, int64_t n, const int64_t *index, const void *values) {
    int64_t repaired = 0, width = s->narrow ? 4 : 8;
    for (int64_t i = 0; i < n; i++) {
        if ((uint64_t)index[i] >= (uint64_t)s->length[0])
            return i;
        __builtin_prefetch((const char *)s->layer[0] + index[i] * width, 1);
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

/* sum += child c of LANES rows; `first` has the entry at which each row begins. */
#define ADD_CHILDREN(sum, c)                                   \
    if (narrow) {                                              \
        IN(floats) x = {0};                                    \
        for (int k = 0; k < LANES; k++)                        \
            x[k] = ((const float *)layer)[first[k] + (c)];     \
        sum += __builtin_convertvector(x, IN(lanes));          \
    } else {                                                   \
        IN(lanes) x = {0};                                     \
        for (int k = 0; k < LANES; k++)                        \
            x[k] = ((const double *)layer)[first[k] + (c)];    \
        sum += x;                                              \
    }

/* at[i]: entry of the layer above -> entry of this one: the first child whose running sum reaches (1 - r[i]) of the row's total.
 * 1 - r lies in (0, 1], so that a target is never 0 and never beyond the total: a child of zero cannot be met. */
TARGET INLINE void IN(descend)(const void *layer, int narrow, const double *above, const double *r, int64_t *at, int64_t n) {
    for (int64_t i = 0; i < SMALLER(n, AHEAD); i++)
        fetch(layer, narrow, at[i]);
    for (int64_t i = 0; i < n; i += LANES) {
        int64_t first[LANES];
        IN(lanes) target, sum = {0};
        IN(counts) below = {0};
        for (int k = 0; k < LANES; k++) { /* the last group repeats its last row */
            int64_t j = SMALLER(i + k, n - 1);
            first[k] = at[j] << SHIFT;
            target[k] = (1.0 - r[j]) * above[at[j]];
            if (i + k + AHEAD < n)
                fetch(layer, narrow, at[i + k + AHEAD]);
        }
        for (int c = 0; c < FANOUT; c++) {
            ADD_CHILDREN(sum, c)
            below -= (IN(counts))(sum < target); /* true is -1 */
        }
        for (int k = 0; k < LANES && i + k < n; k++) /* the mask keeps a tree that was written to by hand inside its row */
            at[i + k] = first[k] + (below[k] & (FANOUT - 1));
    }
}

/* The same in the last layer: bisections of its running sums, side by side, without branches that could be guessed wrong. */
TARGET INLINE void IN(descend_top)(const double *edges, int64_t width, const double *r, int64_t *at, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) {
        IN(lanes) target, edge = {0};
        IN(counts) from = {0};
        for (int k = 0; k < LANES; k++)
            target[k] = (1.0 - r[SMALLER(i + k, n - 1)]) * edges[width - 1];
        for (int64_t left = width; left > 1; left -= left / 2) {
            for (int k = 0; k < LANES; k++)
                edge[k] = edges[from[k] + left / 2 - 1];
            from += (IN(counts))(edge < target) & left / 2;
        }
        for (int k = 0; k < LANES && i + k < n; k++)
            at[i + k] = from[k];
    }
}

/* Totals of rows: of index[i] >> shift for all n, or of rows 0 to n - 1 where index is null. Repeats write the same total. */
TARGET INLINE void IN(add_up)(const void *layer, int narrow, double *above, const int64_t *index, int shift, int64_t n) {
    for (int64_t i = 0; index && i < SMALLER(n, AHEAD); i++)
        fetch(layer, narrow, index[i] >> shift);
    for (int64_t i = 0; i < n; i += LANES) {
        int64_t row[LANES], first[LANES];
        IN(lanes) sum = {0};
        for (int k = 0; k < LANES; k++) {
            int64_t j = SMALLER(i + k, n - 1);
            row[k] = index ? index[j] >> shift : j;
            first[k] = row[k] << SHIFT;
            if (index && i + k + AHEAD < n)
                fetch(layer, narrow, index[i + k + AHEAD] >> shift);
        }
        for (int c = 0; c < FANOUT; c++) {
            ADD_CHILDREN(sum, c)
        }
        for (int k = 0; k < LANES; k++)
            above[row[k]] = sum[k];
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

TARGET static void IN(draw)(const tree *s, int64_t n, const double *r, int64_t *at) {
    int64_t top = s->depth - 1;
    IN(descend_top)(s->edges, s->length[top], r, at, n);
    for (int64_t k = top - 1; k >= 0; k--) {
        r += n;
        if (k == 0 && s->narrow)
            IN(descend)(s->layer[k], 1, s->layer[k + 1], r, at, n);
        else
            IN(descend)(s->layer[k], 0, s->layer[k + 1], r, at, n);
    }
}

#undef ADD_CHILDREN
#undef VARIANT
#undef LANES
#undef TARGET
#endif
