// The host twin of append.
#include <algorithm>
#include <initializer_list>

#include "arithmetic/appending.hpp"

namespace reft {
namespace {

template <class T>
void quantise(const reft_append_args& args, const Stream& stream, const Place& place,
              const T* from) {
  std::uint32_t largest = 0;
  float wide[kGroup];
  for (int i = 0; i < args.cache.size; i += kGroup) {
    widen(load(from + i), wide);
    largest = std::max(largest, largest_of(wide));
  }
  const Scale scale = scale_of(largest);
  for (int i = 0; i < args.cache.size; i += kGroup) {
    widen(load(from + i), wide);
    store(static_cast<E4M3*>(stream.cache) + place.element + i, quantised(wide, scale.encode));
  }
  stream.scales[place.scale] = scale.decode;
  if (largest >= kInfinity && args.faults) ++*args.faults;
}

template <class T>
void append(const reft_append_args& args, int row, int group) {
  const Place place = place_of(args, row, group);
  if (!place.there) return;
  for (const bool values : {false, true}) {
    const Stream stream = stream_of(args, values);
    const T* from = static_cast<const T*>(stream.tokens) + row * stream.row_stride +
                    group * stream.group_stride;
    if (args.cache.dtype == REFT_E4M3) {
      quantise(args, stream, place, from);
      continue;
    }
    for (int i = 0; i < args.cache.size; i += kGroup)
      store(static_cast<T*>(stream.cache) + place.element + i, load(from + i));
  }
}

}  // namespace
}  // namespace reft

int reft_append(const reft_append_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  for (int row = 0; row < args->batch; ++row) {
    for (int group = 0; group < args->cache.groups; ++group) {
      if (args->dtype == REFT_BF16) reft::append<reft::Bf16>(*args, row, group);
      else reft::append<float>(*args, row, group);
    }
  }
  return REFT_OK;
}
