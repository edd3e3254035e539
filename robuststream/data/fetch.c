/* One mini-batch in one pass: gather, crop, mirror, and every byte to the number that the network wants. Plain C, called through
 * ctypes; knows neither Python nor torch. A byte and a channel have 256 C outcomes, so the arithmetic is a table that torch made:
 * the numbers are torch's own bits, in float32 or in bf16.
 */
#define _GNU_SOURCE
#include <stdint.h>
#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#endif

typedef struct {
    const uint8_t *images; /* (N, height, width, channels) */
    int64_t size, channels, height, width;
    int64_t crop;   /* pixels around an image; they are not in memory */
    int64_t reflect; /* what they are: the image reflected, else zeros */
    int64_t planar; /* the answer lies in memory as (n, channels, height, width), else as images do */
    const int64_t *rows; /* (N,) where an example's image lies in memory, or null: where its number says */
    int64_t asking; /* mini-batches for which the system is still asked to read ahead */
    int64_t read;   /* what this thread had read from disk when it was last looked at */
} source;

#define PATIENCE 64 /* mini-batches without anything read from disk after which nobody asks */

#define AHEAD 2 /* images between asking memory for one and reading it */

/* One row of the answer: pixels of an image from `from` on, `along` bytes from one to the next, with zeros before `first` and from
 * `last` on. Inlined where channels and strides are constants: as variables they would make it twice as slow. */
#define ROW(NAME, T)                                                                                                          \
static inline __attribute__((always_inline)) void NAME(const T *restrict table, const uint8_t *restrict from, int64_t along,  \
                                                       T *restrict out, int64_t first, int64_t last, int64_t width,           \
                                                       int64_t channels, int64_t plane, int64_t step) {                       \
    for (int64_t x = 0; x < first; x++)                                                                                       \
        for (int64_t c = 0; c < channels; c++)                                                                                \
            out[c * plane + x * step] = table[256 * c];                                                                       \
    for (int64_t x = first; x < last; x++, from += along)                                                                     \
        for (int64_t c = 0; c < channels; c++)                                                                                \
            out[c * plane + x * step] = table[256 * c + from[c]];                                                             \
    for (int64_t x = last; x < width; x++)                                                                                    \
        for (int64_t c = 0; c < channels; c++)                                                                                \
            out[c * plane + x * step] = table[256 * c];                                                                       \
}

/* The pixel of 0..length-1 that stands at a place up to length-1 outside. */
static inline int64_t reflected(int64_t at, int64_t length) {
    at = at < 0 ? -at : at;
    return at < length ? at : 2 * (length - 1) - at;
}

#define FETCH(NAME, ROW, T)                                                                                                   \
static void NAME(const source *s, int64_t n, const int64_t *index, const int64_t *drawn, const T *table, T *out) {            \
    int64_t width = s->width, height = s->height, channels = s->channels, bytes = height * width * channels;                  \
    int64_t plane = s->planar ? height * width : 1, step = s->planar ? 1 : channels;                                          \
    if (!drawn) { /* an image as it is: one long row */                                                                       \
        width *= height;                                                                                                      \
        height = 1;                                                                                                           \
    }                                                                                                                         \
    for (int64_t i = 0; i < n; i++) {                                                                                         \
        if (i + AHEAD < n) {                                                                                                  \
            const uint8_t *next = s->images + (s->rows ? s->rows[index[i + AHEAD]] : index[i + AHEAD]) * bytes;               \
            for (int64_t b = 0; b < bytes; b += 64)                                                                           \
                __builtin_prefetch(next + b);                                                                                 \
        }                                                                                                                     \
        const uint8_t *image = s->images + (s->rows ? s->rows[index[i]] : index[i]) * bytes;                                  \
        int64_t down = drawn ? drawn[i] - s->crop : 0, shift = drawn ? drawn[n + i] - s->crop : 0;                            \
        int64_t mirrored = drawn ? drawn[2 * n + i] : 0, along = mirrored ? -channels : channels;                             \
        for (int64_t y = 0; y < height; y++, out += width * step) {                                                           \
            int64_t row = s->reflect ? reflected(y + down, height) : y + down, inside = row >= 0 && row < height;             \
            int64_t first = !inside ? width : shift < 0 ? -shift : 0;                                                         \
            int64_t last = !inside ? width : shift > 0 ? width - shift : width;                                               \
            first = first > width ? width : first;                                                                            \
            last = last < first ? first : last;                                                                               \
            int64_t begin = mirrored ? width - 1 - first - shift : first + shift;                                             \
            const uint8_t *from = image + (row * width + begin) * channels;                                                   \
            if (channels == 1 && !mirrored)                                                                                   \
                ROW(table, from, 1, out, first, last, width, 1, 1, 1);                                                        \
            else if (channels == 1)                                                                                           \
                ROW(table, from, -1, out, first, last, width, 1, 1, 1);                                                       \
            else if (channels == 3 && !s->planar)                                                                             \
                ROW(table, from, along, out, first, last, width, 3, 1, 3);                                                    \
            else if (channels == 3)                                                                                           \
                ROW(table, from, along, out, first, last, width, 3, plane, 1);                                                \
            else                                                                                                              \
                ROW(table, from, along, out, first, last, width, channels, plane, step);                                      \
            for (int64_t x = 0; s->reflect && x < width; x++) {                                                               \
                if (x >= first && x < last)                                                                                   \
                    continue;                                                                                                 \
                int64_t at = reflected(x + shift, width);                                                                     \
                const uint8_t *pixel = image + (row * width + (mirrored ? width - 1 - at : at)) * channels;                   \
                for (int64_t c = 0; c < channels; c++)                                                                        \
                    out[c * plane + x * step] = table[256 * c + pixel[c]];                                                    \
            }                                                                                                                 \
        }                                                                                                                     \
        out += s->planar ? (channels - 1) * plane : 0;                                                                        \
    }                                                                                                                         \
}

ROW(row_wide, float)
ROW(row_narrow, uint16_t)
FETCH(fetch_wide, row_wide, float)
FETCH(fetch_narrow, row_narrow, uint16_t)

/* Tells a library of another version from this one. */
int64_t fetch_layout(void) { return 2000 + (int64_t)sizeof(source); }

#if defined(MADV_WILLNEED)
#if defined(RUSAGE_THREAD)
#define OURS RUSAGE_THREAD
#else
#define OURS RUSAGE_SELF
#endif

/* Whether to ask at all. To ask for what is in memory already costs a step of a small network a twentieth of its time; and where
 * something is not, either the asking or, if nobody asked, the waiting for it shows in these counters. */
static int asks(source *s) {
    struct rusage used;
    if (getrusage(OURS, &used) != 0)
        return 1;
    int64_t read = (int64_t)used.ru_majflt + (int64_t)used.ru_inblock;
    if (read != s->read)
        s->asking = PATIENCE;
    s->read = read;
    if (s->asking == 0)
        return 0;
    s->asking--;
    return 1;
}
#endif

/* Has the system begin to read what these images lie on, where `images` is a file in memory; nothing is waited for. An index outside
 * 0..N-1 is left to fetch_batch to tell. */
void fetch_ahead(source *s, int64_t n, const int64_t *index) {
#if defined(MADV_WILLNEED)
    if (!asks(s))
        return;
    int64_t bytes = s->height * s->width * s->channels, page = sysconf(_SC_PAGESIZE);
    for (int64_t i = 0; i < n; i++) {
        if ((uint64_t)index[i] >= (uint64_t)s->size)
            continue;
        const uint8_t *image = s->images + (s->rows ? s->rows[index[i]] : index[i]) * bytes;
        int64_t before = (int64_t)((uintptr_t)image % (uintptr_t)page);
        madvise((void *)(image - before), (size_t)(before + bytes), MADV_WILLNEED);
    }
#else /* then they are read when they are fetched */
    (void)s, (void)n, (void)index;
#endif
}

/* (n,) examples -> images and labels. `drawn` (3, n): rows down and columns across of the crop, and whether it is mirrored; or null.
 * `table` (C, 256) of `bytes` each. Returns the place of the first index outside 0..N-1, before anything was written, or -1. */
int64_t fetch_batch(const source *s, int64_t n, const int64_t *index, const int64_t *drawn, const void *table, int64_t bytes,
                    void *out, const int64_t *labels, int64_t *labels_out) {
    for (int64_t i = 0; i < n; i++) {
        if ((uint64_t)index[i] >= (uint64_t)s->size)
            return i;
        labels_out[i] = labels[index[i]];
    }
    if (bytes == 4)
        fetch_wide(s, n, index, drawn, table, out);
    else
        fetch_narrow(s, n, index, drawn, table, out);
    return -1;
}
