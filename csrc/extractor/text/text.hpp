// Strings: making, joining, indexing them. UTF-8 inside, code points outside.
//
// Small texts lie behind their Str; long substrings lie in the text they were cut from.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/vm.hpp"

namespace reft {

// Copies `text`. Charges bytes / 64 steps, checks max_str_bytes.
Value make_str(Vm& vm, std::string_view text);
// Refers to `text`, which must live as long as the program (its source, a constant, another Str's).
Value borrow_str(Vm& vm, std::string_view text);
Value make_str(Vm& vm, char32_t code_point);

// A string to be filled through `data` at once. Checks and charges for its bytes.
Value new_str(Vm& vm, std::uint64_t bytes, std::uint32_t length, char*& data);
// The string itself as a value.
inline Value itself(const Str& text) { return Value::object(const_cast<Str*>(&text)); }
// A piece of `text`: the whole is `text` itself, the others refer to it.
inline Value part_of(Vm& vm, const Str& text, std::string_view part) {
  return part.size() == text.bytes ? itself(text) : borrow_str(vm, part);
}

// Number of code points of valid UTF-8 (surrogates as three bytes included).
std::uint32_t count_code_points(std::string_view text);
// Bytes of the UTF-8 sequence that starts with this byte.
inline std::uint32_t utf8_length(unsigned char first) {
  return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}
char32_t decode_utf8(const char* at);
// Appends the encoding to `out` (4 bytes of room); returns the number of bytes.
std::uint32_t encode_utf8(char32_t code_point, char* out);

// a + b. Amortised constant per byte when a string is built by repeated `s += t` or `s = s + t`.
Value concat(Vm& vm, const Str& a, const Str& b);
Value repeat(Vm& vm, const Str& text, std::int64_t times);
// Byte offset of a code point; `index` may equal the length. Charges for long non-ASCII texts.
std::uint32_t byte_offset(Vm& vm, const Str& text, std::uint32_t index);
Value char_at(Vm& vm, const Str& text, std::int64_t index);  // IndexError; negative from the end
Value substring(Vm& vm, const Str& text, std::uint32_t start, std::uint32_t end);  // code points

// Where `needle` first or last occurs in `text`; null: nowhere. Charges for what is walked over.
const char* find_first(Vm& vm, std::string_view text, std::string_view needle);
const char* find_last(Vm& vm, std::string_view text, std::string_view needle);

// str.isspace() of one code point: what strip() and split() take for white space.
bool is_wide_space(char32_t code_point);  // beyond ASCII
inline bool is_unicode_space(char32_t code_point) {
  // Tab to carriage return, the four separators from 0x1C on, space.
  if (code_point < 0x80) return code_point <= 0x20 && (0x1F0003E00u >> code_point & 1) != 0;
  return is_wide_space(code_point);
}
// The value of a decimal digit of any script (Unicode 14's Nd), or -1.
int unicode_decimal_digit(char32_t code_point);
// `text` without white space at its ends.
std::string_view strip_space(std::string_view text);
std::string_view strip_space_left(std::string_view text);
std::string_view strip_space_right(std::string_view text);
// Start of the code point that ends before `at`.
inline const char* previous_code_point(const char* at) {
  do {
    --at;
  } while ((static_cast<unsigned char>(*at) & 0xC0) == 0x80);
  return at;
}

// Builds a string piece by piece; checks max_str_bytes and charges as it grows. The Str is made in
// front of the text, so a string that nothing else was allocated in between costs one block.
class TextBuilder {
 public:
  explicit TextBuilder(Vm& vm) : vm_(vm) {}
  void append(std::string_view text);
  void append(char c) {
    if (size_ == capacity_) reserve(1);
    data_[size_++] = c;
  }
  void append_code_point(char32_t code_point);
  void append_repeated(char32_t code_point, std::uint64_t times);
  std::string_view view() const { return {data_, size_}; }
  std::uint32_t size() const { return size_; }
  Value finish();  // the builder must not be used afterwards

 private:
  void reserve(std::uint64_t more);
  Vm& vm_;
  char* data_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint32_t capacity_ = 0;
};

}  // namespace reft
