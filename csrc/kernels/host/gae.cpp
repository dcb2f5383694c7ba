// The host twin of generalised advantages.
#include "arithmetic/advantage.hpp"

int reft_gae(const reft_gae_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  for (std::int64_t row = 0; row < args->rows; ++row) {
    double next_value = 0, next_advantage = 0;
    for (std::int64_t at = (row + 1) * args->columns - 1; at >= row * args->columns; --at) {
      const double value = reft::counted(*args, args->values, at);
      const double reward = reft::counted(*args, args->rewards, at);
      const double delta = reft::delta_of(*args, reward, value, next_value);
      next_advantage = reft::advantage_of(*args, delta, next_advantage);
      next_value = value;
      reft::write(*args, at, next_advantage, value);
    }
  }
  return REFT_OK;
}
