// Methods of str that look for other strings: find, index, count, startswith, replace, partition,
// removeprefix and their like.
#include <cstring>

#include "containers/containers.hpp"
#include "operators/operators.hpp"
#include "text/str_natives.hpp"

namespace reft {

const char* find_first(Vm& vm, std::string_view text, std::string_view needle) {
  if (needle.empty()) return text.data();
  if (needle.size() > text.size()) return nullptr;
  const char* last = text.data() + (text.size() - needle.size());  // where it may still begin
  for (const char* at = text.data(); at <= last; ++at) {
    auto room = static_cast<std::size_t>(last - at) + 1;
    auto* hit = static_cast<const char*>(std::memchr(at, needle[0], room));
    std::size_t walked = hit == nullptr ? room : static_cast<std::size_t>(hit - at);
    vm.charge((walked + needle.size()) / 64 + 1);
    if (hit == nullptr) return nullptr;
    if (std::memcmp(hit, needle.data(), needle.size()) == 0) return hit;
    at = hit;
  }
  return nullptr;
}

const char* find_last(Vm& vm, std::string_view text, std::string_view needle) {
  if (needle.empty()) return text.data() + text.size();
  if (needle.size() > text.size()) return nullptr;
  std::size_t end = text.size() - needle.size() + 1;  // it must begin before
  while (end > 0) {
    std::size_t hit = text.rfind(needle[0], end - 1);
    std::size_t walked = hit == text.npos ? end : end - hit;
    vm.charge((walked + needle.size()) / 64 + 1);
    if (hit == text.npos) return nullptr;
    if (std::memcmp(text.data() + hit, needle.data(), needle.size()) == 0) return text.data() + hit;
    end = hit;
  }
  return nullptr;
}

namespace {

using Find = const char* (*)(Vm& vm, std::string_view text, std::string_view needle);

std::string_view between(const char* from, const char* to) {
  return {from, static_cast<std::size_t>(to - from)};
}

// The index, or -1.
std::int64_t find(Vm& vm, const Args& args, const char* name, Find find_it) {
  Window window = search_window(vm, args, name);
  const Str& needle = str_argument(vm, args[1]);
  if (window.length < needle.length) return -1;
  const char* hit = find_it(vm, window.text, needle.view());
  if (hit == nullptr) return -1;
  std::string_view before = between(window.text.data(), hit);
  if (static_cast<std::size_t>(window.length) == window.text.size()) {
    return window.start + static_cast<std::int64_t>(before.size());
  }
  vm.charge(before.size() / 64);
  return window.start + static_cast<std::int64_t>(count_code_points(before));
}

Value index(Vm& vm, const Args& args, const char* name, Find find_it) {
  std::int64_t i = find(vm, args, name, find_it);
  if (i < 0) vm.raise(Exc::kValueError, "substring not found");
  return Value::integer(i);
}

// startswith and endswith.
Value matches(Vm& vm, const Args& args, const char* name, bool at_end) {
  Window window = search_window(vm, args, name);
  auto match = [&](const Str& part) {
    vm.charge(part.bytes / 64);
    if (window.length < part.length) return false;
    return at_end ? window.text.ends_with(part.view()) : window.text.starts_with(part.view());
  };
  Value what = args[1];
  if (what.is(Kind::kStr)) return Value::boolean(match(*what.as<Str>()));
  if (!what.is(Kind::kTuple)) {
    raise_not_str(vm, "%s first arg must be str or a tuple of str, not %s", name, what);
  }
  const Tuple& parts = *what.as<Tuple>();
  for (std::uint32_t i = 0; i < parts.size; ++i) {
    vm.step();
    if (!parts.items[i].is(Kind::kStr)) {
      raise_not_str(vm, "tuple for %s must only contain str, not %s", name, parts.items[i]);
    }
    if (match(*parts.items[i].as<Str>())) return Value::boolean(true);
  }
  return Value::boolean(false);
}

// `part` between all characters and at both ends, `most` times at most.
Value interleave(Vm& vm, const Str& self, std::string_view part, std::uint64_t most) {
  vm.charge(self.length / 4);
  TextBuilder builder(vm);
  const char* at = self.data;
  const char* end = at + self.bytes;
  builder.append(part);
  for (--most; most > 0 && at < end; --most) {
    std::uint32_t size = utf8_length(static_cast<unsigned char>(*at));
    builder.append(std::string_view(at, size));
    builder.append(part);
    at += size;
  }
  builder.append(between(at, end));
  return builder.finish();
}

Value replace(Vm& vm, const Str& self, std::string_view old, std::string_view with,
              std::uint64_t most) {
  if (most == 0 || old == with) return itself(self);
  if (old.empty()) return interleave(vm, self, with, most);
  const char* end = self.data + self.bytes;
  const char* hit = find_first(vm, self.view(), old);
  if (hit == nullptr) return itself(self);
  TextBuilder builder(vm);
  const char* at = self.data;
  for (; hit != nullptr && most > 0; --most) {
    builder.append(between(at, hit));
    builder.append(with);
    at = hit + old.size();
    hit = find_first(vm, between(at, end), old);
  }
  builder.append(between(at, end));
  return builder.finish();
}

Value partition(Vm& vm, const Args& args, const char* name, bool from_end) {
  const Str& self = one_argument(vm, args, name);
  const Str& needle = str_argument(vm, args[1]);
  if (needle.bytes == 0) vm.raise(Exc::kValueError, "empty separator");
  const char* hit = (from_end ? find_last : find_first)(vm, self.view(), needle.view());
  Value empty = make_str(vm, std::string_view());
  Value parts[3] = {empty, empty, empty};
  if (hit == nullptr) {
    parts[from_end ? 2 : 0] = itself(self);
  } else {
    parts[0] = borrow_str(vm, between(self.data, hit));
    parts[1] = itself(needle);
    parts[2] = borrow_str(vm, between(hit + needle.bytes, self.data + self.bytes));
  }
  return Value::object(make_tuple(vm, parts, 3));
}

// The argument of removeprefix and removesuffix.
std::string_view affix(Vm& vm, Value value, const char* name) {
  if (value.is_none()) vm.raise_type("%s() argument must be str, not None", name);
  if (!value.is(Kind::kStr)) raise_not_str(vm, "%s() argument must be str, not %s", name, value);
  vm.charge(value.as<Str>()->bytes / 64);
  return value.as<Str>()->view();
}

// Argument `number` of replace.
std::string_view replace_argument(Vm& vm, Value value, int number) {
  if (value.is(Kind::kStr)) return value.as<Str>()->view();
  if (value.is(Kind::kForeign)) unsupported("a foreign value in str.replace");
  vm.raise_type("replace() argument %d must be str, not %s", number,
                value.is_none() ? "None" : type_name(value));
}

}  // namespace

Value str_find(Vm& vm, const Args& args) {
  return Value::integer(find(vm, args, "find", find_first));
}
Value str_rfind(Vm& vm, const Args& args) {
  return Value::integer(find(vm, args, "rfind", find_last));
}
Value str_index(Vm& vm, const Args& args) { return index(vm, args, "index", find_first); }
Value str_rindex(Vm& vm, const Args& args) { return index(vm, args, "rindex", find_last); }

Value str_count(Vm& vm, const Args& args) {
  Window window = search_window(vm, args, "count");
  const Str& needle = str_argument(vm, args[1]);
  if (window.length < needle.length) return Value::integer(0);
  if (needle.bytes == 0) return Value::integer(window.length + 1);
  const char* end = window.text.data() + window.text.size();
  std::int64_t count = 0;
  const char* hit = find_first(vm, window.text, needle.view());
  for (; hit != nullptr; ++count) {
    hit = find_first(vm, between(hit + needle.bytes, end), needle.view());
  }
  return Value::integer(count);
}

Value str_startswith(Vm& vm, const Args& args) { return matches(vm, args, "startswith", false); }
Value str_endswith(Vm& vm, const Args& args) { return matches(vm, args, "endswith", true); }

Value str_replace(Vm& vm, const Args& args) {
  const Str& self = some_arguments(vm, args, "replace", 2, 3);
  std::string_view old = replace_argument(vm, args[1], 1);
  std::string_view with = replace_argument(vm, args[2], 2);
  std::int64_t most = args.count == 4 ? index_argument(vm, args[3]) : -1;
  return replace(vm, self, old, with, most < 0 ? UINT64_MAX : static_cast<std::uint64_t>(most));
}

Value str_partition(Vm& vm, const Args& args) { return partition(vm, args, "partition", false); }
Value str_rpartition(Vm& vm, const Args& args) { return partition(vm, args, "rpartition", true); }

Value str_removeprefix(Vm& vm, const Args& args) {
  const Str& self = one_argument(vm, args, "removeprefix");
  std::string_view prefix = affix(vm, args[1], "removeprefix");
  if (!self.view().starts_with(prefix)) return itself(self);
  return part_of(vm, self, self.view().substr(prefix.size()));
}

Value str_removesuffix(Vm& vm, const Args& args) {
  const Str& self = one_argument(vm, args, "removesuffix");
  std::string_view suffix = affix(vm, args[1], "removesuffix");
  if (!self.view().ends_with(suffix)) return itself(self);
  return part_of(vm, self, self.view().substr(0, self.bytes - suffix.size()));
}

}  // namespace reft
