// What one program may use.
#pragma once

#include <cstddef>
#include <cstdint>

namespace reft {

struct Limits {
  std::uint32_t max_source_bytes = 65'536;
  std::int64_t max_steps = 1'000'000;
  std::size_t max_memory_bytes = 32u << 20;  // arena of one program
  std::uint32_t max_int_bits = 1u << 20;     // checked before an integer is computed
  std::uint32_t max_str_bytes = 1u << 20;
  std::uint32_t max_items = 1'000'000;      // of one container
  std::uint32_t max_frames = 1'000;         // RecursionError beyond, catchable
  std::uint32_t max_nesting = 200;          // parentheses
  std::uint32_t max_output_bytes = 65'536;  // print is counted
  std::uint32_t collect_bytes = 8u << 20;   // allocated before garbage is first collected
};

}  // namespace reft
