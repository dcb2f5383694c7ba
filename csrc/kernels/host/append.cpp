// The host twin of append.
#include "arithmetic/appending.hpp"

namespace {

template <class T>
void append(const reft_append_args& args, int row, int group) {
  const std::int64_t at = reft::place_of(args, row, group);
  if (at < 0) return;
  const T* key = static_cast<const T*>(args.key) + row * args.key_row_stride;
  const T* value = static_cast<const T*>(args.value) + row * args.value_row_stride;
  for (int i = 0; i < args.cache.size; i += reft::kGroup) {
    reft::store(static_cast<T*>(args.cache.keys) + at + i,
                reft::load(key + group * args.key_group_stride + i));
    reft::store(static_cast<T*>(args.cache.values) + at + i,
                reft::load(value + group * args.value_group_stride + i));
  }
}

}  // namespace

int reft_append(const reft_append_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  for (int row = 0; row < args->batch; ++row) {
    for (int group = 0; group < args->cache.groups; ++group) {
      if (args->cache.dtype == REFT_BF16) append<reft::Bf16>(*args, row, group);
      else append<float>(*args, row, group);
    }
  }
  return REFT_OK;
}
