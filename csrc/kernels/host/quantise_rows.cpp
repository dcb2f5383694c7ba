// The host twin of quantising rows: the lanes of a block in turn, in the order of the kernel.
#include <algorithm>
#include <vector>

#include "arithmetic/quantising.hpp"

namespace reft {
namespace {

constexpr int kWarp = 32;

// A row as the lanes of a block hold it.
class Row {
 public:
  explicit Row(const reft_quantise_rows_args& args) : args_(args), wide_(args.size) {}

  template <class T>
  void read(int row) {
    const T* x = static_cast<const T*>(args_.x) + row * args_.row_stride;
    for (int at = 0; at < args_.size; ++at) wide_[at] = widen(x[at]);
  }

  void normalise(int row) {
    const float mean = sum([](const float (&x)[kGroup], float sum) {
                         for (int i = 0; i < kGroup; ++i) sum += x[i];
                         return sum;
                       }) /
                       static_cast<float>(args_.size);
    const float squares =
        sum([mean](const float (&x)[kGroup], float sum) { return add_squares(x, mean, sum); });
    const float rstd = rstd_of(squares, args_.size, args_.eps);
    for (int at = 0; at < args_.size; at += kGroup)
      reft::normalise(args_, at, mean, rstd, group(at));
    args_.means[row] = mean;
    args_.rstds[row] = rstd;
  }

  void activate() {
    for (int at = 0; at < args_.size; at += kGroup) reft::activate(args_, at, group(at));
  }

  void write(int row) {
    std::uint32_t largest = 0;
    for (int at = 0; at < args_.size; at += kGroup)
      largest = std::max(largest, largest_of(group(at)));
    const Scale scale = scale_of(largest);
    E4M3* codes =
        reinterpret_cast<E4M3*>(args_.codes) + static_cast<std::int64_t>(row) * args_.size;
    for (int at = 0; at < args_.size; at += kGroup)
      store(codes + at, quantised(group(at), scale.encode));
    args_.scales[row] = scale.decode;
    if (largest >= kInfinity && args_.faults) ++*args_.faults;
  }

 private:
  float (&group(int at)) [kGroup] { return *reinterpret_cast<float (*)[kGroup]>(&wide_[at]); }

  template <class Add>
  float sum(Add add) {
    float lanes[kRowThreads] = {};
    for (int at = 0; at < args_.size; at += kGroup) {
      float& lane = lanes[at / kGroup % kRowThreads];
      lane = add(group(at), lane);
    }
    float sum = 0;
    for (float* warp = lanes; warp < lanes + kRowThreads; warp += kWarp) {
      for (int offset = kWarp / 2; offset; offset /= 2)
        for (int lane = 0; lane < offset; ++lane) warp[lane] += warp[lane + offset];
      sum += warp[0];
    }
    return sum;
  }

  const reft_quantise_rows_args& args_;
  std::vector<float> wide_;
};

}  // namespace
}  // namespace reft

int reft_quantise_rows(const reft_quantise_rows_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  reft::Row held(*args);
  for (int row = 0; row < args->rows; ++row) {
    switch (args->dtype) {
      case REFT_BF16: held.read<reft::Bf16>(row); break;
      default: held.read<float>(row);
    }
    if (args->source == REFT_LAYER_NORM) held.normalise(row);
    if (args->source == REFT_GELU) held.activate();
    held.write(row);
  }
  return REFT_OK;
}
