// What the ways to format values share: the format mini-language and numbers as text.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/vm.hpp"
#include "numbers/float_text.hpp"
#include "text/text.hpp"

namespace reft {

// [[fill]align][sign][z][#][0][width][grouping][.precision][type]
struct FormatSpec {
  char32_t fill = ' ';
  char align;     // < > = ^
  char sign = 0;  // + - or space; 0: not given
  char grouping = 0;
  bool no_negative_zero = false;
  bool alternate = false;
  std::int64_t width = -1;
  std::int64_t precision = -1;
  char32_t type;
};

// ValueError as CPython's; `type_name` is the one of the value, for the message.
FormatSpec parse_format_spec(Vm& vm, std::string_view text, char32_t default_type,
                             char default_align, const char* type_name);

// The whole number that the decimal digits (of any script) at the front of `text` make, and how
// many bytes they take. ValueError beyond 64 bits.
std::int64_t parse_width(Vm& vm, std::string_view text, std::size_t& bytes);

// Appends format(value, spec).
void append_formatted(Vm& vm, TextBuilder& out, Value value, std::string_view spec);
void append_formatted_int(Vm& vm, TextBuilder& out, Value value, const FormatSpec& spec);
void append_formatted_float(Vm& vm, TextBuilder& out, double value, const FormatSpec& spec);
// `text` of `length` code points, padded to the width; '=' pads like '>'.
void append_padded(TextBuilder& out, std::string_view text, std::uint32_t length,
                   const FormatSpec& spec);
[[noreturn]] void raise_unknown_type(Vm& vm, char32_t type, const char* type_name);

// A whole number without sign and prefix.
struct IntText {
  bool negative;
  std::string_view digits;
  char buffer[64];
};

// `type` is d, b, o, x or X.
void write_integer(Vm& vm, Value value, char type, IntText& out);

// The code point that chr() and the type c make of a number. OverflowError.
char32_t checked_code_point(Vm& vm, Value value);

}  // namespace reft
