// Methods of str that take it apart and put it together: split, splitlines, strip, join.
#include <algorithm>
#include <cstring>

#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "operators/operators.hpp"
#include "text/str_natives.hpp"

namespace reft {
namespace {

std::string_view between(const char* from, const char* to) {
  return {from, static_cast<std::size_t>(to - from)};
}

bool space_at(const char* at) { return is_unicode_space(decode_utf8(at)); }

const char* next_code_point(const char* at) {
  return at + utf8_length(static_cast<unsigned char>(*at));
}

// Where the white space from `at` on ends, and where the next begins.
const char* skip_space(const char* at, const char* end) {
  while (at < end && space_at(at)) at = next_code_point(at);
  return at;
}
const char* skip_word(const char* at, const char* end) {
  while (at < end && !space_at(at)) at = next_code_point(at);
  return at;
}

// The same backwards, from `end` to `begin`.
const char* skip_space_back(const char* begin, const char* end) {
  while (end > begin) {
    const char* at = previous_code_point(end);
    if (!space_at(at)) break;
    end = at;
  }
  return end;
}
const char* skip_word_back(const char* begin, const char* end) {
  while (end > begin) {
    const char* at = previous_code_point(end);
    if (space_at(at)) break;
    end = at;
  }
  return end;
}

void add(Vm& vm, const Str& self, List& out, std::string_view piece) {
  vm.step();
  list_push(vm, out, part_of(vm, self, piece));
}

void split_space(Vm& vm, const Str& self, std::uint64_t most, List& out) {
  const char* end = self.data + self.bytes;
  const char* at = skip_space(self.data, end);
  for (; at < end && most > 0; --most) {
    const char* stop = skip_word(at, end);
    add(vm, self, out, between(at, stop));
    at = skip_space(stop, end);
  }
  if (at < end) add(vm, self, out, between(at, end));
}

void split_space_back(Vm& vm, const Str& self, std::uint64_t most, List& out) {
  const char* begin = self.data;
  const char* end = skip_space_back(begin, begin + self.bytes);
  for (; end > begin && most > 0; --most) {
    const char* start = skip_word_back(begin, end);
    add(vm, self, out, between(start, end));
    end = skip_space_back(begin, start);
  }
  if (end > begin) add(vm, self, out, between(begin, end));
}

void split_at(Vm& vm, const Str& self, std::string_view separator, std::uint64_t most, List& out) {
  const char* at = self.data;
  const char* end = at + self.bytes;
  for (; most > 0; --most) {
    const char* hit = find_first(vm, between(at, end), separator);
    if (hit == nullptr) break;
    add(vm, self, out, between(at, hit));
    at = hit + separator.size();
  }
  add(vm, self, out, between(at, end));
}

void split_at_back(Vm& vm, const Str& self, std::string_view separator, std::uint64_t most,
                   List& out) {
  const char* begin = self.data;
  const char* end = begin + self.bytes;
  for (; most > 0; --most) {
    const char* hit = find_last(vm, between(begin, end), separator);
    if (hit == nullptr) break;
    add(vm, self, out, between(hit + separator.size(), end));
    end = hit;
  }
  add(vm, self, out, between(begin, end));
}

// split and rsplit.
Value split(Vm& vm, const Args& args, const char* name, bool from_end) {
  Value given[2];
  const Str& self = named_arguments(vm, args, name, {N_sep, N_maxsplit}, given);
  std::int64_t limit = given[1].is_unbound() ? -1 : index_argument(vm, given[1]);
  std::uint64_t most = limit < 0 ? UINT64_MAX : static_cast<std::uint64_t>(limit);
  Value separator = given[0];
  List* out = make_list(vm);
  if (separator.is_unbound() || separator.is_none()) {
    vm.charge(self.bytes / 16);
    (from_end ? split_space_back : split_space)(vm, self, most, *out);
  } else {
    if (!separator.is(Kind::kStr)) {
      raise_not_str(vm, "%smust be str or None, not %s", "", separator);
    }
    std::string_view text = separator.as<Str>()->view();
    if (text.empty()) vm.raise(Exc::kValueError, "empty separator");
    (from_end ? split_at_back : split_at)(vm, self, text, most, *out);
  }
  if (from_end) std::reverse(out->items, out->items + out->size);
  return Value::object(out);
}

// Bytes of the line break at `at`; 0 if there is none.
std::uint32_t line_break(const char* at, const char* end) {
  char32_t c = decode_utf8(at);
  if (c == '\r') return at + 1 < end && at[1] == '\n' ? 2 : 1;
  bool one = (c >= '\n' && c <= '\f') || (c >= 0x1C && c <= 0x1E);
  if (one || c == 0x85 || c == 0x2028 || c == 0x2029) {
    return utf8_length(static_cast<unsigned char>(*at));
  }
  return 0;
}

// Which ends strip() and its like work on.
constexpr int kLeft = 1;
constexpr int kRight = 2;

std::string_view strip_characters(Vm& vm, std::string_view text, std::string_view set, int ends) {
  const char* at = text.data();
  const char* end = at + text.size();
  auto in_set = [&](const char* from, const char* to) {
    vm.charge(set.size() / 64 + 1);
    return find_first(vm, set, between(from, to)) != nullptr;
  };
  if ((ends & kLeft) != 0) {
    while (at < end && in_set(at, next_code_point(at))) at = next_code_point(at);
  }
  if ((ends & kRight) != 0) {
    while (at < end && in_set(previous_code_point(end), end)) end = previous_code_point(end);
  }
  return between(at, end);
}

Value strip(Vm& vm, const Args& args, const char* name, int ends) {
  const Str& self = some_arguments(vm, args, name, 0, 1);
  std::string_view text = self.view();
  if (args.count == 1 || args[1].is_none()) {
    vm.charge(self.bytes / 16);
    if ((ends & kLeft) != 0) text = strip_space_left(text);
    if ((ends & kRight) != 0) text = strip_space_right(text);
  } else if (args[1].is(Kind::kStr)) {
    text = strip_characters(vm, text, args[1].as<Str>()->view(), ends);
  } else {
    if (args[1].is(Kind::kForeign)) unsupported("a foreign value in str.strip");
    vm.raise_type("%s arg must be None or str", name);
  }
  return part_of(vm, self, text);
}

Value join(Vm& vm, const Str& separator, const Value* items, std::uint32_t count) {
  vm.charge(count);
  std::uint64_t bytes = 0;
  std::uint64_t length = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!items[i].is(Kind::kStr)) {
      if (items[i].is(Kind::kForeign)) unsupported("a foreign value in str.join");
      vm.raise_type("sequence item %u: expected str instance, %s found", i, type_name(items[i]));
    }
    bytes += items[i].as<Str>()->bytes;
    length += items[i].as<Str>()->length;
  }
  if (count == 0) return make_str(vm, std::string_view());
  if (count == 1) return items[0];
  bytes += std::uint64_t{separator.bytes} * (count - 1);
  length += std::uint64_t{separator.length} * (count - 1);
  char* out;
  Value joined = new_str(vm, bytes, static_cast<std::uint32_t>(length), out);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (i != 0) {
      std::memcpy(out, separator.data, separator.bytes);
      out += separator.bytes;
    }
    const Str& item = *items[i].as<Str>();
    std::memcpy(out, item.data, item.bytes);
    out += item.bytes;
  }
  return joined;
}

}  // namespace

std::string_view strip_space_left(std::string_view text) {
  const char* end = text.data() + text.size();
  return between(skip_space(text.data(), end), end);
}

std::string_view strip_space_right(std::string_view text) {
  return between(text.data(), skip_space_back(text.data(), text.data() + text.size()));
}

std::string_view strip_space(std::string_view text) {
  return strip_space_right(strip_space_left(text));
}

Value str_split(Vm& vm, const Args& args) { return split(vm, args, "split", false); }
Value str_rsplit(Vm& vm, const Args& args) { return split(vm, args, "rsplit", true); }

Value str_splitlines(Vm& vm, const Args& args) {
  Value keep_ends;
  const Str& self = named_arguments(vm, args, "splitlines", {N_keepends}, &keep_ends);
  bool keep = !keep_ends.is_unbound() && int_argument(vm, keep_ends) != 0;
  vm.charge(self.bytes / 16);
  List* out = make_list(vm);
  const char* end = self.data + self.bytes;
  for (const char* line = self.data; line < end;) {
    const char* stop = line;
    std::uint32_t size = 0;
    while (stop < end && (size = line_break(stop, end)) == 0) stop = next_code_point(stop);
    add(vm, self, *out, between(line, keep ? stop + size : stop));
    line = stop + size;
  }
  return Value::object(out);
}

Value str_strip(Vm& vm, const Args& args) { return strip(vm, args, "strip", kLeft | kRight); }
Value str_lstrip(Vm& vm, const Args& args) { return strip(vm, args, "lstrip", kLeft); }
Value str_rstrip(Vm& vm, const Args& args) { return strip(vm, args, "rstrip", kRight); }

Value str_join(Vm& vm, const Args& args) {
  const Str& separator = one_argument(vm, args, "join");
  Value items = args[1];
  if (items.is(Kind::kTuple)) {
    const Tuple& tuple = *items.as<Tuple>();
    return join(vm, separator, tuple.items, tuple.size);
  }
  if (!is_iterable(items)) vm.raise_type("can only join an iterable");
  const List& list = items.is(Kind::kList) ? *items.as<List>() : *collect(vm, items);
  return join(vm, separator, list.items, list.size);
}

}  // namespace reft
