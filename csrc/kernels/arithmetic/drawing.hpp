// The Gumbel maximum and the sum of the softmax, in one pass over a row of logits.
//
// Owns what is kept of a row while it is read, and in which order. The vocabulary is dealt out in
// blocks of four rows, which share their random bits: block b, counted from the start of the whole
// vocabulary, goes to lane b % kDrawLanes. Lanes are merged in a tree.
#pragma once

#include "arithmetic/attention.hpp"
#include "arithmetic/philox.hpp"

namespace reft {

constexpr int kDrawLanes = 512;
constexpr int kBlock = 4;  // vocabulary rows that share a counter

// The best token so far, the first of equal ones, and the sum of e^(logit - top).
struct Draw {
  float score = kNone;
  std::int32_t token = INT32_MAX;
  float logit = kNone;
  float top = kNone;
  float sum = 0;
};

REFT_BOTH void merge(Draw& draw, const Draw& other) {
  if (other.score > draw.score || (other.score == draw.score && other.token < draw.token)) {
    draw.score = other.score;
    draw.token = other.token;
    draw.logit = other.logit;
  }
  const float top = fmaxf(draw.top, other.top);
  const float base = base_of(top);
  draw.sum = fmaf(other.sum, expf(other.top - base), draw.sum * expf(draw.top - base));
  draw.top = top;
}

// Takes in the logits of a block; those that are not of the shard are not there. Tokens are counted
// from the start of the whole vocabulary. What cannot reach `floor`, a score seen elsewhere in the
// row, needs no noise.
REFT_BOTH void see(const reft_draw_args& args, int row, std::int32_t block, float floor,
                   Draw& draw) {
  const float* logits = args.logits + row * args.row_stride - args.start;
  const std::int64_t* key = args.keys + 2 * row;
  Words words = {};
  if (!args.greedy) {
    const Words counter = {
        {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(args.positions[row]), 0, 0}};
    words = philox(static_cast<std::uint32_t>(key[0]), static_cast<std::uint32_t>(key[1]), counter);
  }
  float scaled[kBlock];
  float top = draw.top;
  for (int i = 0; i < kBlock; ++i) {
    const std::int32_t token = block * kBlock + i;
    scaled[i] = kNone;
    if (token < args.start || token >= args.start + args.vocabulary) continue;
    scaled[i] = logits[token] / args.temperature;
    top = fmaxf(top, scaled[i]);
    const float least = fmaxf(floor, draw.score);
    if (!args.greedy && scaled[i] + gumbel_bound(words.x[i]) < least) continue;
    const float score = args.greedy ? scaled[i] : scaled[i] + gumbel(words.x[i]);
    if (score > draw.score || draw.token == INT32_MAX) {
      draw.score = score;
      draw.token = token;
      draw.logit = scaled[i];
    }
  }
  if (args.log_sums) {
    const float base = base_of(top);
    draw.sum *= expf(draw.top - base);
    for (int i = 0; i < kBlock; ++i) draw.sum += expf(scaled[i] - base);
  }
  draw.top = top;
}

// The blocks that hold vocabulary rows start .. start + vocabulary - 1.
REFT_BOTH std::int32_t first_block(const reft_draw_args& args) { return args.start / kBlock; }
REFT_BOTH std::int32_t end_block(const reft_draw_args& args) {
  return (args.start + args.vocabulary + kBlock - 1) / kBlock;
}

REFT_BOTH void write(const reft_draw_args& args, int row, const Draw& draw) {
  args.scores[row] = draw.score;
  args.tokens[row] = draw.token;
  args.chosen[row] = draw.logit;
  if (args.log_sums) args.log_sums[row] = base_of(draw.top) + logf(draw.sum);
}

}  // namespace reft
