// The answer in a natural-language text: a number or an option's letter.
//
// ops/reference/natural.py says the same in Python.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.hpp"

namespace reft {

enum class NlMode : std::uint8_t {
  kReft,     // all that stands behind the last trigger, or the whole text, and nothing else
  kLenient,  // the likeliest number or letter
};

struct NlOutcome {
  double value;  // nan unless a number was found
  Status status;
  std::uint8_t text_size;
  char text[64];  // a letter answer, cut at a character
};

// `letter`: the answer is a text, not a number. Bytes that are no UTF-8 are never part of an answer
// in kLenient, and make it no number in kReft.
void read_answer(std::string_view text, std::string_view trigger, NlMode mode, bool letter,
                 NlOutcome& out) noexcept;

}  // namespace reft
