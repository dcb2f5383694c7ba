// The host twin of decode attention: every lane, state and warp of a block in turn, in the order of
// the kernel, so that the two differ by their powers of two alone.
#include "arithmetic/attention.hpp"

namespace reft {
namespace {

// One block of the kernel, for one head. `Heads` is how many the kernel's block has.
template <class T, int Lanes, int Heads>
class Block {
 public:
  Block(const reft_decode_attention_args& args, int row, int head)
      : args_(args),
        scales_(args.cache, cache_row(args.rows, row), head / (args.heads / args.cache.groups)) {
    const int group = head / (args.heads / args.cache.groups);
    const std::int64_t stored = cache_row(args.rows, row);
    const std::int64_t at = stored * args.cache.row_stride + group * args.cache.group_stride;
    span_ = span_of(args, row, stored);
    keys_ = static_cast<const T*>(args.cache.keys) + at;
    values_ = static_cast<const T*>(args.cache.values) + at;
    const std::int64_t from = row * args.query_row_stride + head * args.query_head_stride;
    for (int lane = 0; lane < lanes(); ++lane) {
      load_token(args.query, from + lane * kGroup, args.dtype, query_[lane]);
      for (int i = 0; i < kGroup; ++i) query_[lane][i] *= args.scale * kLog2E;
    }
    out_ = (static_cast<std::int64_t>(row) * args.heads + head) * args.cache.size;
  }

  void run() {
    for (int start = span_.first; start < span_.end; start += kStates * kUnroll)
      for (int own = 0; own < kStates; ++own) see(own, start + own);
    for (int warp = 0; warp < kWarps; ++warp)
      for (int lane = 0; lane < lanes(); ++lane) merge_warp(warp, lane);
    for (int i = 0; i < args_.cache.size; ++i) {
      const State<1> state = merged(i / kGroup, i % kGroup);
      const float x = span_.end > span_.first ? state.out[0] / state.sum : 0.0f;
      store_element(args_.out, out_ + i, args_.dtype, x);
    }
  }

 private:
  static constexpr int kStates = kThreads / Lanes;
  static constexpr int kUnroll = kUnrollOf<Heads>;

  int lanes() const { return args_.cache.size / kGroup; }  // those that hold something

  // State `own` takes its next positions, the first of which is `position`.
  void see(int own, int position) {
    float scores[kUnroll];
    for (int u = 0; u < kUnroll; ++u) scores[u] = score(position + u * kStates);
    for (int lane = 0; lane < lanes(); ++lane) {
      float weights[kUnroll];
      for (int u = 0; u < kUnroll; ++u) weights[u] = scores[u];
      State<kGroup>& state = states_[own][lane];
      weigh(state, weights);
      for (int u = 0; u < kUnroll; ++u) {
        float wide[kGroup] = {};
        widen_at(values_, position + u * kStates, lane, wide);
        add(state, weights[u] * value_scale(position + u * kStates), wide);
      }
    }
  }

  float score(int position) const {
    if (position >= span_.end) return kNone;
    float parts[Lanes] = {};
    for (int lane = 0; lane < lanes(); ++lane) {
      float wide[kGroup];
      widen_at(keys_, position, lane, wide);
      parts[lane] = dot(query_[lane], wide);
    }
    for (int offset = Lanes / 2; offset; offset /= 2)
      for (int lane = 0; lane < offset; ++lane) parts[lane] += parts[lane + offset];
    return parts[0] * scales_.of_key(position);
  }

  float value_scale(int position) const {
    return position < span_.end ? scales_.of_value(position) : 0.0f;
  }

  // Nothing beyond the span is read.
  void widen_at(const T* from, int position, int lane, float (&wide)[kGroup]) const {
    if (position >= span_.end) return;
    widen(load(from + position * args_.cache.position_stride + lane * kGroup), wide);
  }

  void merge_warp(int warp, int lane) {
    constexpr int kEach = kStates / kWarps;
    for (int offset = 1; offset < kEach; offset *= 2)
      for (int own = 0; own < kEach; own += 2 * offset)
        merge(states_[warp * kEach + own][lane], states_[warp * kEach + own + offset][lane]);
  }

  State<1> merged(int lane, int i) const {
    State<1> state;
    for (int warp = 0; warp < kWarps; ++warp) {
      const State<kGroup>& its = states_[warp * (kStates / kWarps)][lane];
      State<1> other;
      other.top = its.top;
      other.sum = its.sum;
      other.out[0] = its.out[i];
      merge(state, other);
    }
    return state;
  }

  const reft_decode_attention_args& args_;
  const Scales<T> scales_;
  Span span_;
  const T* keys_;
  const T* values_;
  std::int64_t out_;
  float query_[Lanes][kGroup] = {};
  State<kGroup> states_[kStates][Lanes];
};

template <class T, int Lanes>
void run(const reft_decode_attention_args& args, int row, int head) {
  if (args.heads == args.cache.groups) Block<T, Lanes, 1>(args, row, head).run();
  else Block<T, Lanes, kHeadsOf<T>>(args, row, head).run();
}

template <class T>
void run(const reft_decode_attention_args& args, int row, int head) {
  switch (lanes_of(args.cache.size)) {
    case 8: return run<T, 8>(args, row, head);
    case 16: return run<T, 16>(args, row, head);
    default: return run<T, 32>(args, row, head);
  }
}

}  // namespace
}  // namespace reft

int reft_decode_attention(const reft_decode_attention_args* args, int, void*) {
  if (const int status = reft::check(*args)) return status;
  for (int row = 0; row < args->batch; ++row) {
    for (int head = 0; head < args->heads; ++head) {
      switch (args->cache.dtype) {
        case REFT_BF16: reft::run<reft::Bf16>(*args, row, head); break;
        case REFT_FP32: reft::run<float>(*args, row, head); break;
        default: reft::run<reft::E4M3>(*args, row, head);
      }
    }
  }
  return REFT_OK;
}
