// The host twin of quantising columns: survey, scales and codes as the kernels have them, and sums
// in their order.
#include <algorithm>

#include "arithmetic/quantising.hpp"

namespace reft {
namespace {

template <class T, bool Slope>
void survey(const reft_quantise_columns_args& args) {
  std::fill_n(args.tops, args.rows + args.columns, 0);
  for (int row = 0; row < args.rows; ++row) {
    for (int at = 0; at < args.columns; at += kGroup) {
      float wide[kGroup];
      load_gradient<T, Slope>(args, row, at, wide);
      args.tops[row] = std::max(args.tops[row], largest_of(wide));
      for (int j = 0; j < kGroup; ++j) {
        std::uint32_t& top = args.tops[args.rows + at + j];
        top = std::max(top, magnitude(wide[j] * fold_of(args, row)));
      }
    }
  }
}

// One part's sums, of eight columns.
template <class T, bool Slope>
void sum_part(const reft_quantise_columns_args& args, int part, int at) {
  float* sums = args.parts + static_cast<std::int64_t>(part) * args.columns + at;
  std::fill_n(sums, kGroup, 0.0f);
  for (int warp = 0; warp < kTileWarps; ++warp) {
    float own[kGroup] = {};
    for (int i = warp; i < kPartRows && part * kPartRows + i < args.rows; i += kTileWarps) {
      float wide[kGroup];
      load_gradient<T, Slope>(args, part * kPartRows + i, at, wide);
      for (int j = 0; j < kGroup; ++j) own[j] += wide[j];
    }
    for (int j = 0; j < kGroup; ++j) sums[j] += own[j];
  }
}

template <class T, bool Slope>
void sum(const reft_quantise_columns_args& args) {
  std::fill_n(args.sums, args.columns, 0.0f);
  for (int part = 0; part < (args.rows + kPartRows - 1) / kPartRows; ++part) {
    for (int at = 0; at < args.columns; at += kGroup) {
      sum_part<T, Slope>(args, part, at);
      for (int j = at; j < at + kGroup; ++j)
        args.sums[j] += args.parts[static_cast<std::int64_t>(part) * args.columns + j];
    }
  }
}

void settle(const reft_quantise_columns_args& args) {
  for (int i = args.row_codes ? 0 : args.rows; i < args.rows + args.columns; ++i) {
    const Scale scale = scale_of(args.tops[i]);
    if (args.tops[i] >= kInfinity && args.faults) ++*args.faults;
    args.tops[i] = bits_of<std::uint32_t>(scale.encode);
    (i < args.rows ? args.row_scales[i] : args.column_scales[i - args.rows]) = scale.decode;
  }
}

template <class T, bool Slope>
void write_codes(const reft_quantise_columns_args& args) {
  std::fill_n(args.column_codes, static_cast<std::int64_t>(args.columns) * args.padded, 0);
  for (int row = 0; row < args.rows; ++row) {
    for (int at = 0; at < args.columns; at += kGroup) {
      float wide[kGroup];
      load_gradient<T, Slope>(args, row, at, wide);
      if (args.row_codes) {
        E4M3* to = reinterpret_cast<E4M3*>(args.row_codes) +
                   static_cast<std::int64_t>(row) * args.columns + at;
        store(to, quantised(wide, bits_of<float>(args.tops[row])));
      }
      for (int j = 0; j < kGroup; ++j) {
        const float encode = bits_of<float>(args.tops[args.rows + at + j]);
        args.column_codes[static_cast<std::int64_t>(at + j) * args.padded + row] =
            narrow<E4M3>(wide[j] * fold_of(args, row) * encode).bits;
      }
    }
  }
}

template <class T, bool Slope>
void quantise(const reft_quantise_columns_args& args) {
  survey<T, Slope>(args);
  if (args.sums) sum<T, Slope>(args);
  settle(args);
  write_codes<T, Slope>(args);
}

template <class T>
void quantise(const reft_quantise_columns_args& args) {
  if (args.x) quantise<T, true>(args);
  else quantise<T, false>(args);
}

}  // namespace
}  // namespace reft

int reft_quantise_columns(const reft_quantise_columns_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  if (!args->rows) return REFT_OK;
  switch (args->dtype) {
    case REFT_BF16: reft::quantise<reft::Bf16>(*args); break;
    default: reft::quantise<float>(*args);
  }
  return REFT_OK;
}
