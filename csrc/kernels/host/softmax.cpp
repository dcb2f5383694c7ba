// The host twin of softmax and its gradient: columns in the order of memory, each to its lane.
#include "arithmetic/softmax.hpp"

int reft_softmax(const reft_softmax_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  for (int row = 0; row < args->rows; ++row) {
    reft::Softmax lanes[reft::kSoftmaxLanes];
    const float* logits = args->logits + row * args->row_stride;
    for (int column = 0; column < args->columns; ++column)
      reft::see(lanes[column % reft::kSoftmaxLanes], logits[column]);
    for (int offset = reft::kSoftmaxLanes / 2; offset; offset /= 2)
      for (int lane = 0; lane < offset; ++lane) reft::merge(lanes[lane], lanes[lane + offset]);
    reft::write(*args, row, lanes[0]);
  }
  return REFT_OK;
}

int reft_softmax_gradient(const reft_softmax_gradient_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  for (int row = 0; row < args->rows; ++row)
    for (int column = 0; column < args->columns; ++column) reft::write_gradient(*args, row, column);
  return REFT_OK;
}
