// Attention of one query over keys in any number of parts, each seen once: the running softmax.
//
// Owns the arithmetic of decode attention and how a row's positions are dealt out; the CUDA kernel
// and the host twin only say who does what. A block has kThreads lanes; `lanes` of them share a
// key, eight elements each, and make one state; so a block has kThreads / lanes states, and state s
// takes the positions first + s, first + s + states, ..., kUnrollOf at a time. The states of a warp
// are merged in a tree, the warps in their order. None of it depends on the batch, so neither does
// a result.
#pragma once

#include <cmath>

#include "arithmetic/arguments.hpp"
#include "arithmetic/e4m3.hpp"

namespace reft {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int kWarps = kThreads / kWarp;
constexpr float kLog2E = 1.44269504f;  // powers of two are the machine's own
constexpr float kNone = -INFINITY;     // the score of a position that does not count

// Lanes that share a key: powers of two, so that they can sum by halves.
constexpr int lanes_of(int size) { return size <= 64 ? 8 : size <= 128 ? 16 : 32; }

// Heads of a group in one block, where a group has several, and the positions that a state takes at
// a time: as many loads in flight as the registers of half a multiprocessor allow.
template <class T>
constexpr int kHeadsOf = sizeof(T) == 1 ? 2 : 4;
template <int Heads>
constexpr int kUnrollOf = Heads == 1 ? 4 : 2;

// What is known of a softmax-weighted sum after some positions. Scores are in powers of two.
template <int N>
struct State {
  float top = kNone;  // the largest score
  float sum = 0;      // of 2^(score - top)
  float out[N] = {};  // of 2^(score - top) * value
};

// What powers of two are taken from; a largest score of -inf would make them NaN.
REFT_BOTH float base_of(float top) { return top == kNone ? 0.0f : top; }

REFT_BOTH float power(float score, float base) { return exp2f(score - base); }

// This lane's part of a score.
REFT_BOTH float dot(const float (&query)[kGroup], const float (&key)[kGroup]) {
  float sum = 0;
  for (int i = 0; i < kGroup; ++i) sum = fmaf(query[i], key[i], sum);
  return sum;
}

// Takes in `scores`, and turns them into the weights of their values.
template <int N, int U>
REFT_BOTH void weigh(State<N>& state, float (&scores)[U]) {
  float top = state.top;
  for (int u = 0; u < U; ++u) top = fmaxf(top, scores[u]);
  const float base = base_of(top);
  const float before = power(state.top, base);
  state.sum *= before;
  for (int i = 0; i < N; ++i) state.out[i] *= before;
  for (int u = 0; u < U; ++u) {
    scores[u] = power(scores[u], base);
    state.sum += scores[u];
  }
  state.top = top;
}

template <int N>
REFT_BOTH void add(State<N>& state, float weight, const float (&value)[N]) {
  for (int i = 0; i < N; ++i) state.out[i] = fmaf(weight, value[i], state.out[i]);
}

// `state` becomes what it would be had it seen the positions of `other` too.
template <int N>
REFT_BOTH void merge(State<N>& state, const State<N>& other) {
  const float top = fmaxf(state.top, other.top);
  const float base = base_of(top);
  const float mine = power(state.top, base);
  const float its = power(other.top, base);
  state.sum = fmaf(other.sum, its, state.sum * mine);
  for (int i = 0; i < N; ++i) state.out[i] = fmaf(other.out[i], its, state.out[i] * mine);
  state.top = top;
}

// The scales of a cache row and group by position; 1 where there are none.
template <class T>
struct Scales {
  REFT_BOTH Scales(const reft_cache& cache, std::int64_t row, int group) {
    if (!kThere) return;
    const std::int64_t at = row * cache.scale_row_stride + group * cache.scale_group_stride;
    key = cache.key_scales + at;
    value = cache.value_scales + at;
  }
  static constexpr bool kThere = sizeof(T) == 1;

  REFT_BOTH float of_key(int position) const { return kThere ? key[position] : 1.0f; }
  REFT_BOTH float of_value(int position) const { return kThere ? value[position] : 1.0f; }

  const float* key = nullptr;
  const float* value = nullptr;
};

// Tokens of either type, which is known when the kernel runs.
REFT_BOTH void load_token(const void* tokens, std::int64_t at, int dtype, float (&wide)[kGroup]) {
  if (dtype == REFT_BF16) widen(load(static_cast<const Bf16*>(tokens) + at), wide);
  else widen(load(static_cast<const float*>(tokens) + at), wide);
}

REFT_BOTH void store_element(void* tokens, std::int64_t at, int dtype, float x) {
  if (dtype == REFT_BF16) static_cast<Bf16*>(tokens)[at] = narrow<Bf16>(x);
  else static_cast<float*>(tokens)[at] = x;
}

// The positions that a row sees.
struct Span {
  int first;
  int end;
};

// Row `row` of a batch, which is row `stored` of the cache; nothing of a row that does not exist.
REFT_BOTH Span span_of(const reft_decode_attention_args& args, int row, std::int64_t stored) {
  const std::int64_t length = index_at(args.lengths, row);
  if (length <= 0 || stored < 0 || stored >= args.cache.rows) return {0, 0};
  const int positions = args.cache.positions;
  const int end = length > positions ? positions : static_cast<int>(length);
  return {args.window > 0 && end > args.window ? end - args.window : 0, end};
}

}  // namespace reft
