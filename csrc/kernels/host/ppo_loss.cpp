// The host twin of PPO's losses.
#include "arithmetic/ppo.hpp"

int reft_ppo_loss(const reft_ppo_loss_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  for (int first = 0, part = 0; first < args->tokens; first += REFT_PART_TOKENS, ++part) {
    reft::PpoSums lanes[reft::kPpoLanes];
    for (int i = 0; i < REFT_PART_TOKENS && first + i < args->tokens; ++i)
      reft::take(*args, first + i, lanes[i % reft::kPpoLanes]);
    for (int offset = reft::kPpoLanes / 2; offset; offset /= 2)
      for (int lane = 0; lane < offset; ++lane) reft::merge(lanes[lane], lanes[lane + offset]);
    for (int i = 0; i < REFT_PPO_SUMS; ++i) args->parts[part * REFT_PPO_SUMS + i] = lanes[0].of[i];
  }
  reft::finish(*args);
  return REFT_OK;
}
