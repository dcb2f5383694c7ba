// The host twin of transposing codes.
#include <algorithm>

#include "arithmetic/arguments.hpp"

int reft_transpose(const reft_transpose_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  if (!args->rows) return REFT_OK;
  const std::int64_t padded = args->padded;
  std::fill_n(args->out, args->columns * padded, 0);
  for (int row = 0; row < args->rows; ++row)
    for (int column = 0; column < args->columns; ++column)
      args->out[column * padded + row] = args->codes[row * args->row_stride + column];
  return REFT_OK;
}
