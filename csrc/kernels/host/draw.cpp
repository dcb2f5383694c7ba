// The host twin of the draw, and what a CPU draws with: blocks in the order of memory, each to its
// lane.
#include "arithmetic/drawing.hpp"

int reft_draw(const reft_draw_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  for (int row = 0; row < args->batch; ++row) {
    reft::Draw lanes[reft::kDrawLanes];
    float best = reft::kNone;
    for (std::int32_t block = reft::first_block(*args); block < reft::end_block(*args); ++block) {
      reft::Draw& lane = lanes[block % reft::kDrawLanes];
      reft::see(*args, row, block, best, lane);
      best = fmaxf(best, lane.score);
    }
    for (int offset = reft::kDrawLanes / 2; offset; offset /= 2)
      for (int lane = 0; lane < offset; ++lane) reft::merge(lanes[lane], lanes[lane + offset]);
    reft::write(*args, row, lanes[0]);
  }
  return REFT_OK;
}
