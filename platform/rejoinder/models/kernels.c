/* What models/native.py compiles where it can: int8 products for CPUs with AVX-512 VNNI, and attention of one token.
 *
 * GOMP_* are those of the OpenMP library that torch has loaded, so that both share its threads.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#define WIDE 4   /* vectors of 16 outputs that are computed at a time */
#define ROWS 4   /* and rows */
#define UNROLLED _Pragma("GCC unroll 4")

static inline __m512 exp_of(__m512 x) {
    x = _mm512_mul_ps(_mm512_max_ps(x, _mm512_set1_ps(-80.0f)), _mm512_set1_ps(1.44269504f));
    __m512 whole = _mm512_roundscale_ps(x, 0), part = _mm512_sub_ps(x, whole);
    __m512 sum = _mm512_set1_ps(1.33335581e-3f);
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(9.61812911e-3f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(5.55041087e-2f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(2.40226507e-1f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(6.93147181e-1f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(sum, whole);
}

static inline __m512 sigmoid_of(__m512 x) {
    __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exp_of(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

static inline __m512 activated(__m512 x, int activation) {
    switch (activation) {
    case 1: return _mm512_max_ps(x, _mm512_setzero_ps());
    case 2: { /* x sigmoid(2 u) is 0.5 x (1 + tanh(u)) */
        __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
        __m512 u = _mm512_mul_ps(_mm512_fmadd_ps(cube, _mm512_set1_ps(0.044715f), x), _mm512_set1_ps(1.59576912f));
        return _mm512_mul_ps(x, sigmoid_of(u));
    }
    case 3: return _mm512_mul_ps(x, sigmoid_of(x));
    case 4: return _mm512_fmsub_ps(_mm512_set1_ps(2.0f), sigmoid_of(_mm512_add_ps(x, x)), _mm512_set1_ps(1.0f));
    default: return x;
    }
}

/* One row as bytes around 128, of 127 steps to its largest; returns the step. */
static float quantised(const float *x, long I, uint8_t *bytes) {
    __m512 largest = _mm512_setzero_ps();
    long i = 0;
    for (; i + 16 <= I; i += 16) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
    float most = _mm512_reduce_max_ps(largest);
    for (long j = i; j < I; j++) most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
    if (most < 1e-12f) most = 1e-12f;
    __m512 factor = _mm512_set1_ps(127.0f / most);
    for (i = 0; i < I; i += 16) {
        __mmask16 here = i + 16 <= I ? 0xffff : (__mmask16)((1u << (I - i)) - 1);
        __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(here, x + i), factor));
        q = _mm512_add_epi32(q, _mm512_set1_epi32(128));
        _mm_mask_storeu_epi8(bytes + i, here, _mm512_cvtepi32_epi8(q));
    }
    return most / 127.0f;
}

typedef struct {
    const int8_t *weights;   /* [O/16][I/4][16][4], filled up with 0 */
    const float *scales;     /* [O] */
    const int32_t *offsets;  /* [O]: 128 times the sum of an output's weights */
    const float *bias;       /* [O], or null */
    long I, O;
    int activation;
} Layer;

static inline __attribute__((always_inline)) void tile(
    const Layer *layer, const uint8_t *bytes, const float *steps, long first, float *y, int adds, int R, int C) {
    long quads = layer->I / 4;
    const int8_t *weights = layer->weights + first * layer->I;
    __m512i sums[ROWS][WIDE];
    UNROLLED for (int r = 0; r < R; r++)
        UNROLLED for (int c = 0; c < C; c++) sums[r][c] = _mm512_setzero_si512();
    for (long q = 0; q < quads; q++) {
        __m512i w[WIDE];
        UNROLLED for (int c = 0; c < C; c++) {
            w[c] = _mm512_loadu_si512(weights + (c * quads + q) * 64);
            __asm__("" : "+v"(w[c])); /* loaded once, and not anew for each row */
        }
        UNROLLED for (int r = 0; r < R; r++) {
            __m512i x = _mm512_set1_epi32(*(const int32_t *)(bytes + r * layer->I + 4 * q));
            UNROLLED for (int c = 0; c < C; c++) sums[r][c] = _mm512_dpbusd_epi32(sums[r][c], x, w[c]);
        }
    }
    UNROLLED for (int c = 0; c < C; c++) {
        long o = first + 16 * c;
        __mmask16 here = o + 16 <= layer->O ? 0xffff : (__mmask16)((1u << (layer->O - o)) - 1);
        __m512i offset = _mm512_maskz_loadu_epi32(here, layer->offsets + o);
        __m512 scale = _mm512_maskz_loadu_ps(here, layer->scales + o);
        __m512 bias = layer->bias ? _mm512_maskz_loadu_ps(here, layer->bias + o) : _mm512_setzero_ps();
        UNROLLED for (int r = 0; r < R; r++) {
            __m512 value = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[r][c], offset));
            value = _mm512_fmadd_ps(value, _mm512_mul_ps(scale, _mm512_set1_ps(steps[r])), bias);
            value = activated(value, layer->activation);
            float *to = y + r * layer->O + o;
            if (adds) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(here, to));
            _mm512_mask_storeu_ps(to, here, value);
        }
    }
}

static inline void tiles(const Layer *l, const uint8_t *bytes, const float *steps, long first, float *y, int adds, int R) {
    long left = (l->O - first + 15) / 16;
    if (R == 4) { if (left >= 4) tile(l, bytes, steps, first, y, adds, 4, 4); else
        for (; left > 0; left--, first += 16) tile(l, bytes, steps, first, y, adds, 4, 1); }
    else for (int r = 0; r < R; r++) {
        const uint8_t *row = bytes + r * l->I; float *to = y + r * l->O;
        if (left >= 4) tile(l, row, steps + r, first, to, adds, 1, 4); else
        for (long n = left, at = first; n > 0; n--, at += 16) tile(l, row, steps + r, at, to, adds, 1, 1);
    }
}

/* y[M][O] = activation(x[M][I] weights + bias), or that added to y; I is a multiple of 4. `bytes` and `steps` have room
 * for x. Each row is computed by itself: its result does not depend on the others. */
void linear_int8(const Layer *layer, const float *x, long M, float *y, int adds, uint8_t *bytes, float *steps) {
    long I = layer->I, O = layer->O;
    int alone = M * I * O < 200000;
#pragma omp parallel if (!alone)
    {
#pragma omp for schedule(static)
        for (long m = 0; m < M; m++) steps[m] = quantised(x + m * I, I, bytes + m * I);
#pragma omp for schedule(static)
        for (long first = 0; first < O; first += 16 * WIDE)
            for (long m = 0; m < M; m += ROWS)
                tiles(layer, bytes + m * I, steps + m, first, y + m * O, adds, (int)(M - m < ROWS ? M - m : ROWS));
    }
}

/* One token a row looks at the places of each head. query, out: [B][H][K]; keys, values: [B][H][T][K], in both a row
 * `row_stride`, a head `head_stride` and a place `place_stride` numbers further. Reads the first `lengths[b]` places, or
 * with `lengths` null those where `hidden` ([B], `hidden_stride` apart) is 0. `scores` has room for B H T. */
void attend(const float *query, long query_stride, const float *keys, const float *values, long row_stride,
            long head_stride, long place_stride, const int64_t *lengths, const uint8_t *hidden, long hidden_stride,
            long B, long H, long T, long K, float *scores, float *out) {
#pragma omp parallel for schedule(static) if (B * H * T * K > 100000)
    for (long x = 0; x < B * H; x++) {
        long b = x / H, h = x % H, N = lengths ? lengths[b] : T;
        const float *q = query + b * query_stride + h * K;
        const float *k = keys + b * row_stride + h * head_stride, *v = values + b * row_stride + h * head_stride;
        float *s = scores + x * T, most = -1e30f, total = 0, *o = out + x * K;
        for (long t = 0; t < N; t++) {
            float sum = 0;
            for (long i = 0; i < K; i++) sum += q[i] * k[t * place_stride + i];
            s[t] = hidden && hidden[b * hidden_stride + t] ? -1e30f : sum;
            most = s[t] > most ? s[t] : most;
        }
        for (long t = 0; t < N; t += 16) {
            __mmask16 here = t + 16 <= N ? 0xffff : (__mmask16)((1u << (N - t)) - 1);
            __m512 e = exp_of(_mm512_sub_ps(_mm512_maskz_loadu_ps(here, s + t), _mm512_set1_ps(most)));
            total += _mm512_mask_reduce_add_ps(here, e);
            _mm512_mask_storeu_ps(s + t, here, e);
        }
        for (long i = 0; i < K; i++) o[i] = 0;
        for (long t = 0; t < N; t++) {
            if (hidden && hidden[b * hidden_stride + t]) continue;
            float share = s[t] / total;
            for (long i = 0; i < K; i++) o[i] += share * v[t * place_stride + i];
        }
    }
}

/* Turns queries and keys, both in heads[B][3][H][K], by each row's place with `rotations` ([P][K]: K/2 cosines, then K/2
 * sines; or null), and puts keys and values at that place of each head. */
void turn_and_keep(float *heads, const float *rotations, const int64_t *places, float *keys, float *values,
                   long row_stride, long head_stride, long B, long H, long K) {
    for (long b = 0; b < B; b++) {
        const float *cosines = rotations + places[b] * K, *sines = cosines + K / 2;
        for (long h = 0; rotations && h < 2 * H; h++) {
            float *one = heads + (b * 3 * H + h) * K, *other = one + K / 2;
            for (long i = 0; i < K / 2; i++) {
                float first = one[i], second = other[i];
                one[i] = first * cosines[i] - second * sines[i];
                other[i] = first * sines[i] + second * cosines[i];
            }
        }
        for (long h = 0; h < H; h++) {
            long to = b * row_stride + h * head_stride + places[b] * K;
            const float *key = heads + (b * 3 * H + H + h) * K, *value = key + H * K;
            for (long i = 0; i < K; i++) keys[to + i] = key[i], values[to + i] = value[i];
        }
    }
}
