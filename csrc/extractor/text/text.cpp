// Making, joining and indexing strings.
#include "text/text.hpp"

#include <algorithm>
#include <cstring>

namespace reft {
namespace {

// A result of `+` from here on gets room to grow; shorter ones are copied each time.
constexpr std::uint32_t kShared = 64;
// Substrings up to here are copied: the room behind their Str would be lost anyway.
constexpr std::uint32_t kInside = 8;
static_assert(sizeof(Str) % 16 == 16 - kInside);

// The hash of the empty string is 0 and known, so nobody ever writes to this one.
constexpr Str kEmpty{{Kind::kStr}, 0, 0, true, 0, "", nullptr};

Value empty_str() { return Value::object(const_cast<Str*>(&kEmpty)); }

Str* init(Str* str, std::uint32_t bytes, std::uint32_t length, const char* data) {
  str->kind = Kind::kStr;
  str->bytes = bytes;
  str->length = length;
  str->hashed = false;
  str->hash = 0;
  str->data = data;
  str->buffer = nullptr;
  return str;
}

// A Str with `bytes` of room right behind it, which `data` is set to.
Str* with_room(Vm& vm, std::uint32_t bytes, std::uint32_t length, char*& data) {
  Str* str = vm.make<Str>(Kind::kStr, bytes);
  data = reinterpret_cast<char*>(str + 1);
  return init(str, bytes, length, data);
}

Value slice_of(Vm& vm, const char* at, std::uint32_t bytes, std::uint32_t length) {
  if (bytes > kInside) return Value::object(init(vm.make<Str>(Kind::kStr), bytes, length, at));
  if (bytes == 0) return empty_str();
  char* data;
  Str* str = with_room(vm, bytes, length, data);
  std::memcpy(data, at, bytes);
  return Value::object(str);
}

char* text_of(TextBuffer* buffer) { return reinterpret_cast<char*>(buffer + 1); }

// Does nothing lie behind `a` in its buffer yet, and is there room for `more`?
bool can_grow(const Str& a, std::uint32_t more) {
  return a.buffer != nullptr && a.data + a.bytes == text_of(a.buffer) + a.buffer->used &&
         a.buffer->capacity - a.buffer->used >= more;
}

}  // namespace

Value make_str(Vm& vm, std::string_view text) {
  if (text.empty()) return empty_str();
  vm.check_str(text.size());
  vm.charge(text.size() / 64);
  char* data;
  Str* str = with_room(vm, static_cast<std::uint32_t>(text.size()), count_code_points(text), data);
  std::memcpy(data, text.data(), text.size());
  return Value::object(str);
}

Value new_str(Vm& vm, std::uint64_t bytes, std::uint32_t length, char*& data) {
  vm.check_str(bytes);
  vm.charge(bytes / 64);
  return Value::object(with_room(vm, static_cast<std::uint32_t>(bytes), length, data));
}

Value borrow_str(Vm& vm, std::string_view text) {
  vm.check_str(text.size());
  vm.charge(text.size() / 64);
  return slice_of(vm, text.data(), static_cast<std::uint32_t>(text.size()),
                  count_code_points(text));
}

Value make_str(Vm& vm, char32_t code_point) {
  char bytes[4];
  std::uint32_t size = encode_utf8(code_point, bytes);
  return slice_of(vm, bytes, size, 1);
}

std::uint32_t count_code_points(std::string_view text) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080u;
  const char* at = text.data();
  const char* end = at + text.size();
  std::uint32_t following = 0;
  while (end - at >= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    // The bytes 10xxxxxx: bit 7 set and bit 6 clear.
    std::uint64_t marks = word & kHighBits;
    if (marks != 0) {
      following += static_cast<std::uint32_t>(__builtin_popcountll(marks & ~(word << 1)));
    }
    at += 8;
  }
  for (; at != end; ++at) following += (static_cast<unsigned char>(*at) & 0xC0) == 0x80;
  return static_cast<std::uint32_t>(text.size()) - following;
}

char32_t decode_utf8(const char* at) {
  auto byte = [at](int i) { return static_cast<char32_t>(static_cast<unsigned char>(at[i])); };
  char32_t first = byte(0);
  if (first < 0x80) return first;
  if (first < 0xE0) return (first & 0x1F) << 6 | (byte(1) & 0x3F);
  if (first < 0xF0) return (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  return (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

std::uint32_t encode_utf8(char32_t code_point, char* out) {
  if (code_point < 0x80) {
    out[0] = static_cast<char>(code_point);
    return 1;
  }
  std::uint32_t size = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
  for (std::uint32_t i = size - 1; i > 0; --i) {
    out[i] = static_cast<char>(0x80 | (code_point & 0x3F));
    code_point >>= 6;
  }
  constexpr unsigned kFirst[] = {0, 0, 0xC0, 0xE0, 0xF0};
  out[0] = static_cast<char>(kFirst[size] | code_point);
  return size;
}

Value concat(Vm& vm, const Str& a, const Str& b) {
  if (a.bytes == 0) return itself(b);
  if (b.bytes == 0) return itself(a);
  std::uint64_t total = std::uint64_t{a.bytes} + b.bytes;
  vm.check_str(total);
  auto bytes = static_cast<std::uint32_t>(total);
  std::uint32_t length = a.length + b.length;
  if (can_grow(a, b.bytes)) {
    vm.charge(b.bytes / 64);
    Str* str = init(vm.make<Str>(Kind::kStr), bytes, length, a.data);
    str->buffer = a.buffer;
    std::memcpy(text_of(a.buffer) + a.buffer->used, b.data, b.bytes);
    a.buffer->used += b.bytes;
    return Value::object(str);
  }
  vm.charge(total / 64);
  Str* str;
  char* data;
  if (bytes < kShared) {
    str = with_room(vm, bytes, length, data);
  } else {
    std::uint32_t capacity = bytes + bytes / 2;
    auto* buffer = static_cast<TextBuffer*>(vm.arena.allocate(sizeof(TextBuffer) + capacity));
    *buffer = {bytes, capacity};
    data = text_of(buffer);
    str = init(vm.make<Str>(Kind::kStr), bytes, length, data);
    str->buffer = buffer;
  }
  std::memcpy(data, a.data, a.bytes);
  std::memcpy(data + a.bytes, b.data, b.bytes);
  return Value::object(str);
}

Value repeat(Vm& vm, const Str& text, std::int64_t times) {
  if (times <= 0 || text.bytes == 0) return empty_str();
  if (times == 1) return itself(text);
  vm.check_str(static_cast<std::uint64_t>(times));
  std::uint64_t total = static_cast<std::uint64_t>(times) * text.bytes;
  vm.check_str(total);
  vm.charge(total / 64);
  char* data;
  Str* str = with_room(vm, static_cast<std::uint32_t>(total),
                       text.length * static_cast<std::uint32_t>(times), data);
  if (text.bytes == 1) {
    std::memset(data, text.data[0], total);
    return Value::object(str);
  }
  std::memcpy(data, text.data, text.bytes);
  for (std::uint64_t done = text.bytes; done < total;) {
    std::uint64_t more = std::min(done, total - done);
    std::memcpy(data + done, data, more);
    done += more;
  }
  return Value::object(str);
}

std::uint32_t byte_offset(Vm& vm, const Str& text, std::uint32_t index) {
  if (text.ascii()) return index;
  const char* at = text.data;
  if (index <= text.length / 2) {
    vm.charge(index / 16);
    for (; index > 0; --index) at += utf8_length(static_cast<unsigned char>(*at));
  } else {
    std::uint32_t back = text.length - index;
    vm.charge(back / 16);
    for (at += text.bytes; back > 0; --back) at = previous_code_point(at);
  }
  return static_cast<std::uint32_t>(at - text.data);
}

Value char_at(Vm& vm, const Str& text, std::int64_t index) {
  if (index < 0) index += text.length;
  if (index < 0 || index >= text.length) vm.raise(Exc::kIndexError, "string index out of range");
  const char* at = text.data + byte_offset(vm, text, static_cast<std::uint32_t>(index));
  return slice_of(vm, at, utf8_length(static_cast<unsigned char>(*at)), 1);
}

Value substring(Vm& vm, const Str& text, std::uint32_t start, std::uint32_t end) {
  end = std::min(end, text.length);
  if (start >= end) return empty_str();
  if (start == 0 && end == text.length) return itself(text);
  std::uint32_t first = byte_offset(vm, text, start);
  std::uint32_t last = byte_offset(vm, text, end);
  return slice_of(vm, text.data + first, last - first, end - start);
}

void TextBuilder::append(std::string_view text) {
  if (text.empty()) return;
  reserve(text.size());
  std::memcpy(data_ + size_, text.data(), text.size());
  size_ += static_cast<std::uint32_t>(text.size());
}

void TextBuilder::append_code_point(char32_t code_point) {
  reserve(4);
  size_ += encode_utf8(code_point, data_ + size_);
}

void TextBuilder::append_repeated(char32_t code_point, std::uint64_t times) {
  if (times == 0) return;
  char bytes[4];
  std::uint32_t size = encode_utf8(code_point, bytes);
  vm_.check_str(times);
  reserve(times * size);
  if (size == 1) {
    std::memset(data_ + size_, bytes[0], times);
    size_ += static_cast<std::uint32_t>(times);
    return;
  }
  for (; times > 0; --times, size_ += size) std::memcpy(data_ + size_, bytes, size);
}

void TextBuilder::reserve(std::uint64_t more) {
  std::uint64_t need = size_ + more;
  if (need <= capacity_) return;
  constexpr std::uint64_t kFirst = 128 - sizeof(Str);
  std::uint64_t capacity = std::max({need, std::uint64_t{capacity_} * 2, kFirst});
  vm_.check_str(need);
  vm_.charge(capacity / 64);
  char* block = data_ == nullptr ? nullptr : data_ - sizeof(Str);
  block = vm_.arena.regrow(block, block == nullptr ? 0 : sizeof(Str) + size_,
                           sizeof(Str) + capacity_, sizeof(Str) + capacity);
  data_ = block + sizeof(Str);
  capacity_ = static_cast<std::uint32_t>(capacity);
}

Value TextBuilder::finish() {
  if (size_ == 0) return empty_str();
  char* block = data_ - sizeof(Str);
  vm_.arena.extend(block, sizeof(Str) + capacity_, sizeof(Str) + size_);  // gives back the rest
  auto* str = reinterpret_cast<Str*>(block);
  return Value::object(init(str, size_, count_code_points(view()), data_));
}

}  // namespace reft
