// What is known of single code points: classes and case.
//
// All of ASCII and Latin-1, white space and decimal digits of every script, and the blocks of
// punctuation and symbols that mathematical texts use. Anything else stops with Unsupported.
#pragma once

#include <array>
#include <cstdint>

namespace reft {

// Bits of `character_traits`, named after the methods of str that ask for them.
enum Trait : std::uint16_t {
  kAlpha = 1,
  kDecimal = 2,
  kDigit = 4,
  kNumeric = 8,
  kLower = 16,
  kUpper = 32,
  kSpace = 64,
  kPrintable = 128,
  kIdStart = 256,
  kIdPart = 512,  // of an identifier, but not its start
  kAlnum = kAlpha | kDecimal | kDigit | kNumeric,
  kCased = kLower | kUpper,
};

extern const std::array<std::uint16_t, 256> kLatinTraits;
std::uint16_t wide_traits(char32_t code_point);  // from 0x100 on

inline std::uint16_t character_traits(char32_t code_point) {
  return code_point < 0x100 ? kLatinTraits[code_point] : wide_traits(code_point);
}

// str.isprintable() of one code point: what repr() does not escape. Knows more letters than the
// above.
bool is_printable(char32_t code_point);

// One code point in another case; the result has one or two.
struct Cased {
  char32_t at[2];
  int count;
};
Cased to_lower(char32_t code_point);
Cased to_upper(char32_t code_point);
Cased to_title(char32_t code_point);
Cased to_folded(char32_t code_point);

}  // namespace reft
