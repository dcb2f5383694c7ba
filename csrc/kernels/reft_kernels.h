/* The C ABI of the kernels: the CUDA library and its host twin export the same functions.
 *
 * No function allocates, waits for the device, or keeps a pointer; what is launched on a stream may
 * be captured in a CUDA graph. Lengths and positions are read where they lie, so a grid depends on
 * shapes alone. Strides are in elements. `device` is the number of the device that the tensors are
 * on, which becomes the thread's current one; `stream` is one of its cudaStream_t. The host twin
 * works on host memory, on the calling thread, and heeds neither. */
#ifndef REFT_KERNELS_H_
#define REFT_KERNELS_H_

#include <stdint.h>

/* Changes whenever a function or a struct here does. */
#define REFT_KERNELS_ABI 7

#define REFT_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* A status is 0, one of these, or a positive cudaError_t, as 35 where there is no driver. */
enum {
  REFT_OK = 0,
  REFT_BAD_SHAPE = -1,  /* a count that is negative or does not divide, a head size not 8, 16 ..
                           256, a row to quantise not 8, 16 .. 16384, 2^31 or more elements from
                           a row's first position to its last */
  REFT_BAD_DTYPE = -2,  /* none of those below */
  REFT_MISALIGNED = -3, /* a pointer or a stride of a tensor that is no multiple of 16 bytes */
  REFT_NULL = -4        /* a pointer that must be there is not */
};

enum { REFT_BF16 = 0, REFT_FP32 = 1, REFT_E4M3 = 2 }; /* the last for caches alone */

REFT_API int reft_abi(void);
/* "cuda" with the architectures of its code, as "cuda 89 90a 100a", or "host". */
REFT_API const char* reft_target(void);
/* What a status means; never NULL. */
REFT_API const char* reft_message(int status);
/* 0 if the device can run the kernels; else why not. The host twin always can. */
REFT_API int reft_probe(int device);

/* A key/value cache. keys and values have the same shape, dtype and strides, and so have scales. An
 * element of an E4M3 cache is its code times the scale of its token and group. */
typedef struct {
  void* keys; /* [rows, groups, positions, size], the last axis contiguous */
  void* values;
  float* key_scales; /* [rows, groups, positions], the last axis contiguous; with E4M3 alone */
  float* value_scales;
  int64_t row_stride;
  int64_t group_stride;
  int64_t position_stride;
  int64_t scale_row_stride;
  int64_t scale_group_stride;
  int32_t rows;
  int32_t groups;
  int32_t positions;
  int32_t size;
  int32_t dtype;
} reft_cache;

/* Integers of either width, one for each row of a batch. */
typedef struct {
  const void* data;
  int32_t wide; /* 0: int32_t, 1: int64_t */
} reft_indices;

/* softmax(query keys^T scale) values over the positions max(0, length - window) .. length - 1 of
 * each row, or all before `length` if the window is 0. A length of 0 or less gives zeros, one over
 * the cache's positions counts as those. Sums are fp32, in an order that depends on the row alone.
 */
typedef struct {
  reft_cache cache;
  void* out;         /* [batch, heads, size] contiguous, of `dtype` */
  const void* query; /* [batch, heads, size], the last axis contiguous, of `dtype` */
  int64_t query_row_stride;
  int64_t query_head_stride;
  reft_indices lengths;
  reft_indices rows; /* the cache row of each row of the batch; data NULL: its own number */
  int32_t batch;
  int32_t heads; /* a multiple of the groups */
  int32_t window;
  float scale;
  int32_t dtype; /* of the tokens; the cache's own, unless that is E4M3 */
} reft_decode_attention_args;

REFT_API int reft_decode_attention(const reft_decode_attention_args* args, int device,
                                   void* stream);

/* Writes the key and value of each token of a batch to its position of its cache row; one outside
 * the cache writes nothing. In an E4M3 cache the scale is max|x| / 448 and a code the nearest of x
 * * (448 / max|x|); zeros have scale 1, and so has what is not finite, which is counted. */
typedef struct {
  reft_cache cache;
  const void* key; /* [batch, groups, size], the last axis contiguous, of `dtype` */
  const void* value;
  int64_t key_row_stride;
  int64_t key_group_stride;
  int64_t value_row_stride;
  int64_t value_group_stride;
  reft_indices positions;
  reft_indices rows;
  int32_t* faults; /* grows by the number of keys and values that are not finite; may be NULL */
  int32_t batch;
  int32_t dtype; /* of the tokens; the cache's own, unless that is E4M3 */
} reft_append_args;

REFT_API int reft_append(const reft_append_args* args, int device, void* stream);

/* The token of the largest logit / temperature + Gumbel noise in each row, the first of equal ones,
 * and log sum e^(logit / temperature) over the row. The noise depends on (key, position, token)
 * alone; greedy has none. A row that holds -inf alone has its first token, and -inf elsewhere. */
typedef struct {
  const float* logits; /* [batch, vocabulary], the last axis contiguous */
  int64_t row_stride;
  const int64_t* keys;      /* [batch, 2], words of 32 bits */
  const int64_t* positions; /* [batch], of the tokens that are drawn */
  float* scores;            /* [batch], of the tokens, noise included */
  int64_t* tokens;          /* [batch], counted from the start of the whole vocabulary */
  float* chosen;            /* [batch], logit / temperature of the tokens */
  float* log_sums;          /* [batch], or NULL: they are not wanted */
  int32_t batch;
  int32_t vocabulary; /* of this shard */
  int32_t start;      /* its first token */
  int32_t greedy;
  float temperature; /* above 0 */
} reft_draw_args;

REFT_API int reft_draw(const reft_draw_args* args, int device, void* stream);

/* Quantising: a vector of elements has the scale max|x| / 448 and codes E4M3 nearest to x * (448 /
 * max|x|), all in fp32; zeros have scale 1, and so has what is not finite, which is counted. */

/* What is quantised: x, its LayerNorm, or GELU (with the error function) of x + bias. */
enum { REFT_PLAIN = 0, REFT_LAYER_NORM = 1, REFT_GELU = 2 };

/* Codes of rows, a scale for each; a row is read once. */
typedef struct {
  uint8_t* codes; /* [rows, size] contiguous */
  float* scales;  /* [rows] */
  float* means;   /* [rows], with a LayerNorm alone, as the next */
  float* rstds;
  int32_t* faults; /* grows by the number of rows that are not finite; may be NULL */
  const void* x;   /* [rows, size], the last axis contiguous */
  int64_t row_stride;
  const void* weight; /* [size] contiguous, of vector_dtype; with a LayerNorm alone */
  const void* bias;   /* as weight; with a LayerNorm, and with GELU, where it may be NULL */
  int32_t rows;
  int32_t size; /* 8, 16 .. 16384 */
  int32_t source;
  int32_t dtype;
  int32_t vector_dtype;
  float eps;
} reft_quantise_rows_args;

REFT_API int reft_quantise_rows(const reft_quantise_rows_args* args, int device, void* stream);

/* Rows whose sums make one entry of `parts`. */
#define REFT_PART_ROWS 64

/* Codes of columns, transposed, a scale for each, after the multiplication of each row with its
 * entry of `fold`; and, where row_codes is not NULL, codes of rows without that; and sums over the
 * rows. They are of dy, or, where x is not NULL, of dy * gelu'(x + bias). */
typedef struct {
  uint8_t* column_codes; /* [columns, padded] contiguous; 0 behind the rows */
  float* column_scales;  /* [columns] */
  uint8_t* row_codes;    /* [rows, columns] contiguous, or NULL */
  float* row_scales;     /* [rows], or NULL with row_codes */
  float* sums;           /* [columns], or NULL: they are not wanted */
  float* parts;          /* to work in: [rows / REFT_PART_ROWS rounded up, columns]; with sums */
  uint32_t* tops;        /* to work in: [rows + columns] */
  int32_t* faults;       /* grows by the rows and columns that are not finite; may be NULL */
  const void* dy;        /* [rows, columns], the last axis contiguous */
  const void* x;         /* as dy */
  int64_t dy_stride;
  int64_t x_stride;
  const void* bias;  /* [columns] contiguous, of vector_dtype; may be NULL */
  const float* fold; /* [rows], or NULL: ones */
  int32_t rows;
  int32_t columns; /* a multiple of 8 */
  int32_t padded;  /* a multiple of 16, the rows or more */
  int32_t dtype;
  int32_t vector_dtype;
} reft_quantise_columns_args;

REFT_API int reft_quantise_columns(const reft_quantise_columns_args* args, int device,
                                   void* stream);

/* Codes transposed. */
typedef struct {
  uint8_t* out;         /* [columns, padded] contiguous; 0 behind the rows */
  const uint8_t* codes; /* [rows, columns], the last axis contiguous */
  int64_t row_stride;
  int32_t rows;
  int32_t columns; /* a multiple of 8 */
  int32_t padded;  /* a multiple of 16, the rows or more */
} reft_transpose_args;

REFT_API int reft_transpose(const reft_transpose_args* args, int device, void* stream);

/* What a shard of a vocabulary adds to softmax, log-prob and entropy of each row: its largest
 * logit, and relative to that sum e^l and sum l e^l; and the logit of the target, 0 where the shard
 * does not have it. A row that holds -inf alone has sums of 0. Sums are fp32, in an order that
 * depends on the columns alone. */
typedef struct {
  const float* logits; /* [rows, columns], the last axis contiguous */
  int64_t row_stride;
  const int64_t* targets; /* [rows], counted from the start of the whole vocabulary */
  float* tops;            /* [rows] */
  float* sums;            /* [rows], sum e^(l - top) */
  float* shifted;         /* [rows], sum (l - top) e^(l - top) */
  float* picked;          /* [rows] */
  int32_t rows;
  int32_t columns;
  int32_t start; /* the first token of the shard */
} reft_softmax_args;

REFT_API int reft_softmax(const reft_softmax_args* args, int device, void* stream);

/* gradient * (1 at the target - e^(l - log_sum)), by the logits. */
typedef struct {
  void* out;           /* [rows, columns] contiguous, of `dtype` */
  const float* logits; /* as above */
  int64_t row_stride;
  const int64_t* targets; /* as above */
  const float* log_sums;  /* [rows], over the whole vocabulary */
  const float* gradients; /* [rows], of the log-probs */
  int32_t rows;
  int32_t columns;
  int32_t start;
  int32_t dtype;
} reft_softmax_gradient_args;

REFT_API int reft_softmax_gradient(const reft_softmax_gradient_args* args, int device,
                                   void* stream);

/* Generalised advantages, from the end of each row: delta = reward + gamma * (next value) - value,
 * advantage = delta + decay * (next advantage), in fp64; nothing comes next behind the last column.
 * Rewards and values are 0 where the mask is, and so is what comes out. Bit for bit as the
 * reference. */
typedef struct {
  float* advantages; /* [rows, columns] contiguous, as the next four */
  float* returns;    /* advantage + value */
  const float* rewards;
  const float* values;
  const uint8_t* mask; /* 0 or 1 */
  double gamma;
  double decay; /* gamma * lambda */
  int32_t rows;
  int32_t columns;
} reft_gae_args;

REFT_API int reft_gae(const reft_gae_args* args, int device, void* stream);

/* Tokens whose sums make one entry of `parts`, and what is summed: policy loss, value loss, ratio,
 * approximate KL, share of clipped tokens. */
#define REFT_PART_TOKENS 1024
#define REFT_PPO_SUMS 5

/* PPO's clipped losses, their gradients by log-probs and values, and the weighted sums to log; a
 * token whose mask is 0 adds nothing, whatever stands there. Sums are fp64, rounded at the end. */
typedef struct {
  float* sums;              /* [1 + REFT_PPO_SUMS]: policy + value_coef * value loss, and each */
  float* logprob_gradients; /* [tokens], of the first sum; as the next */
  float* value_gradients;
  double* parts;         /* to work in: [tokens / REFT_PART_TOKENS rounded up, REFT_PPO_SUMS] */
  const float* logprobs; /* [tokens], as all that follow */
  const float* values;
  const uint8_t* mask; /* 0 or 1 */
  const float* weights;
  const float* old_logprobs;
  const float* old_values;
  const float* advantages;
  const float* returns;
  const float* importance; /* NULL: ones */
  double clip_range;
  double value_coef;
  int32_t tokens;
} reft_ppo_loss_args;

REFT_API int reft_ppo_loss(const reft_ppo_loss_args* args, int device, void* stream);

#ifdef __cplusplus
}
#endif

#endif /* REFT_KERNELS_H_ */
