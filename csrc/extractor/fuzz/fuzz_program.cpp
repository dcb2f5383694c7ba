// libFuzzer: any bytes are a program; whatever it does, the core answers, within its limits.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "extract/extract.hpp"

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

// The first byte chooses how the rest is run.
reft::Options options_of(std::uint8_t choice) {
  reft::Options options;
  options.limits.max_source_bytes = 1u << 13;
  options.limits.max_steps = 20'000;
  options.limits.max_memory_bytes = 4u << 20;
  options.limits.max_int_bits = 1u << 14;
  options.limits.max_str_bytes = 1u << 14;
  options.limits.max_items = 1u << 12;
  options.limits.max_output_bytes = 1u << 10;
  options.limits.collect_bytes = (choice & 64) != 0 ? 256 : 1u << 16;
  options.compat = (choice & 1) != 0 ? reft::Compat::kReft : reft::Compat::kPython;
  options.want_text = (choice & 2) != 0;
  options.strip_fences = (choice & 4) != 0;
  options.entry = static_cast<reft::Entry>((choice >> 3) % 5);
  return options;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static reft::Runner runner;
  if (size == 0) return 0;
  reft::Options options = options_of(static_cast<std::uint8_t>(data[0] - '0'));
  std::string_view source(reinterpret_cast<const char*>(data + 1), size - 1);
  reft::Outcome outcome;
  runner.run(source, options, nullptr, outcome);
  require(outcome.status < reft::Status::kInternal, "a status of the core");
  require(outcome.status != reft::Status::kTimeLimit, "the core has no clock");
  require((outcome.exc == reft::Exc::kNone) == (outcome.status != reft::Status::kRuntimeError),
          "an exception with a runtime error, and only there");
  require(outcome.status == reft::Status::kStepLimit || outcome.steps <= options.limits.max_steps,
          "no more steps than the limit");
  require(outcome.text_size <= reft::kTextBytes, "a text of 64 bytes");
  require(outcome.begin <= outcome.end && outcome.end <= source.size(), "a part of the source");
  return 0;
}
