// The host twin of the draw, and what a CPU draws with: blocks in the order of memory, each to its
// lane. Where no sum is asked for nothing depends on lanes, and there is one.
//
// Random bits are made for many blocks at once, and most tokens are found to have no chance before
// anything else is done with them: loops that a compiler turns into vector instructions.
#include <algorithm>

#include "arithmetic/drawing.hpp"

// The same source for each kind of processor; the loader chooses. (-DREFT_CLONES= makes one alone.)
#if !defined(REFT_CLONES) && defined(__x86_64__) && defined(__gnu_linux__) && \
    defined(__has_attribute)
#if __has_attribute(target_clones)
#define REFT_CLONES __attribute__((target_clones("avx2", "default")))
#endif
#endif
#ifndef REFT_CLONES
#define REFT_CLONES
#endif

namespace reft {
namespace {

constexpr int kAtOnce = 32;  // blocks

// Which of kAtOnce blocks from `block` on, all of the shard, have a token that could reach `floor`.
REFT_CLONES void find_chances(const reft_draw_args& args, int row, std::int32_t block, float floor,
                              bool (&chances)[kAtOnce]) {
  const std::int64_t* key = args.keys + 2 * row;
  const auto key0 = static_cast<std::uint32_t>(key[0]), key1 = static_cast<std::uint32_t>(key[1]);
  const auto position = static_cast<std::uint32_t>(args.positions[row]);
  const float* logits = args.logits + row * args.row_stride - args.start + block * kBlock;
  std::uint32_t words[kBlock][kAtOnce];
  for (int b = 0; b < kAtOnce; ++b) {
    const Words made =
        philox(key0, key1, {{static_cast<std::uint32_t>(block + b), position, 0, 0}});
    for (int i = 0; i < kBlock; ++i) words[i][b] = made.x[i];
  }
  for (int b = 0; b < kAtOnce; ++b) {
    bool chance = false;
    for (int i = 0; i < kBlock; ++i)
      chance |= !(logits[b * kBlock + i] / args.temperature + gumbel_bound(words[i][b]) < floor);
    chances[b] = chance;
  }
}

}  // namespace
}  // namespace reft

int reft_draw(const reft_draw_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  const std::int32_t first = reft::first_block(*args), end = reft::end_block(*args);
  // Blocks that the shard has in part, and draws that need every token, are seen one by one.
  const std::int32_t inside = args->start % reft::kBlock ? first + 1 : first;
  const std::int32_t whole =
      args->greedy || args->log_sums ? inside : (args->start + args->vocabulary) / reft::kBlock;
  const int used = args->log_sums ? reft::kDrawLanes : 1;
  for (int row = 0; row < args->batch; ++row) {
    reft::Draw lanes[reft::kDrawLanes];
    float best = reft::kNone;
    const auto see = [&](std::int32_t block) {
      reft::Draw& lane = lanes[block % used];
      reft::see(*args, row, block, best, lane);
      best = fmaxf(best, lane.score);
    };
    std::int32_t block = first;
    for (; block < std::min(inside, end); ++block) see(block);
    for (; block + reft::kAtOnce <= whole; block += reft::kAtOnce) {
      bool chances[reft::kAtOnce];
      reft::find_chances(*args, row, block, best, chances);
      for (int b = 0; b < reft::kAtOnce; ++b)
        if (chances[b]) see(block + b);
    }
    for (; block < end; ++block) see(block);
    for (int offset = used / 2; offset; offset /= 2)
      for (int lane = 0; lane < offset; ++lane) reft::merge(lanes[lane], lanes[lane + offset]);
    reft::write(*args, row, lanes[0]);
  }
  return REFT_OK;
}
