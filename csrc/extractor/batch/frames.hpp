// What the trainer and a host process say to one another: little-endian, each frame a u32 length
// and as many bytes. The trainer believes nothing that it has not checked: Reader never reads
// beyond its frame.
//
//   hello    host      u32 protections (Protection)
//   setup    trainer   the Options, field by field
//   row      trainer   u8 want_text, the text
//   outcome  host      the Outcome, field by field
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "extract/extract.hpp"

namespace reft {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint32_t kLongestFrame = 1u << 26;

// What protects the machine from a host process.
enum Protection : std::uint32_t {
  kParentDeath = 1,
  kDescriptors = 2,
  kResourceLimits = 4,
  kNoNewPrivileges = 8,
  kSeccomp = 16,
};

// Appends one frame to a buffer.
class Writer {
 public:
  explicit Writer(std::string& buffer) : buffer_(buffer), start_(buffer.size()) { number(0u); }
  ~Writer() {
    auto size = static_cast<std::uint32_t>(buffer_.size() - start_ - sizeof(std::uint32_t));
    std::memcpy(buffer_.data() + start_, &size, sizeof size);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  template <typename T>
  void number(T value) {
    buffer_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void rest(std::string_view bytes) { buffer_.append(bytes); }
  void text(std::string_view bytes) {
    bytes = bytes.substr(0, 255);
    number(static_cast<std::uint8_t>(bytes.size()));
    buffer_.append(bytes);
  }

 private:
  std::string& buffer_;
  const std::size_t start_;
};

// Reads one frame; `ok` turns false, and all that follows zero, where the frame is too short.
class Reader {
 public:
  explicit Reader(std::string_view frame) : left_(frame) {}

  template <typename T>
  T number() {
    T value{};
    if (left_.size() < sizeof value) {
      ok_ = false;
      left_ = {};
      return value;
    }
    std::memcpy(&value, left_.data(), sizeof value);
    left_.remove_prefix(sizeof value);
    return value;
  }
  std::string_view text() {
    std::size_t size = number<std::uint8_t>();
    if (size > left_.size()) ok_ = false;
    std::string_view bytes = left_.substr(0, size);
    left_.remove_prefix(bytes.size());
    return bytes;
  }
  std::string_view rest() { return std::exchange(left_, {}); }
  bool ok() const { return ok_; }
  bool whole() const { return ok_ && left_.empty(); }

 private:
  std::string_view left_;
  bool ok_ = true;
};

// The first frame in `bytes`, taken off; false if it is not all there. `broken`: it never will be.
inline bool take_frame(std::string_view& bytes, std::string_view& frame, bool& broken) {
  std::uint32_t size = 0;
  if (bytes.size() < sizeof size) return false;
  std::memcpy(&size, bytes.data(), sizeof size);
  broken = size > kLongestFrame;
  if (broken || bytes.size() - sizeof size < size) return false;
  frame = bytes.substr(sizeof size, size);
  bytes.remove_prefix(sizeof size + size);
  return true;
}

}  // namespace reft
