// hash(): the numbers CPython 3.11 has with PYTHONHASHSEED=0, for they decide the order of sets.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "builtins/builtins.hpp"
#include "numbers/integer.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

constexpr int kHashBits = 61;
constexpr std::uint64_t kHashModulus = (std::uint64_t{1} << kHashBits) - 1;

constexpr std::uint64_t rotate(std::uint64_t value, int bits) {
  return (value << bits) | (value >> (64 - bits));
}

// SipHash-1-3 with key zero over a text as CPython stores it: one, two or four bytes for every code
// point, as the widest needs.
class SipHash {
 public:
  // `bytes` of one item divide 8, and are the same for all.
  void add(std::uint64_t item, unsigned bytes) {
    word_ |= item << (8 * (size_ % 8));
    size_ += bytes;
    if (size_ % 8 == 0) mix();
  }
  void add_word(std::uint64_t word) {
    word_ = word;
    size_ += 8;
    mix();
  }
  std::int64_t finish() {
    word_ |= size_ << 56;
    mix();
    v2_ ^= 0xff;
    round();
    round();
    round();
    auto hash = static_cast<std::int64_t>(v0_ ^ v1_ ^ v2_ ^ v3_);
    return hash == -1 ? -2 : hash;
  }

 private:
  void mix() {
    v3_ ^= word_;
    round();
    v0_ ^= word_;
    word_ = 0;
  }
  void round() {
    half_round(v0_, v1_, v2_, v3_, 13, 16);
    half_round(v2_, v1_, v0_, v3_, 17, 21);
  }
  static void half_round(std::uint64_t& a, std::uint64_t& b, std::uint64_t& c, std::uint64_t& d,
                         int s, int t) {
    a += b;
    c += d;
    b = rotate(b, s) ^ a;
    d = rotate(d, t) ^ c;
    a = rotate(a, 32);
  }

  std::uint64_t v0_ = 0x736f6d6570736575;
  std::uint64_t v1_ = 0x646f72616e646f6d;
  std::uint64_t v2_ = 0x6c7967656e657261;
  std::uint64_t v3_ = 0x7465646279746573;
  std::uint64_t word_ = 0;
  std::uint64_t size_ = 0;  // bytes so far
};

std::int64_t hash_ascii(std::string_view text) {
  SipHash hash;
  while (text.size() >= 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data(), 8);
    hash.add_word(word);
    text.remove_prefix(8);
  }
  for (char c : text) hash.add(static_cast<unsigned char>(c), 1);
  return hash.finish();
}

std::int64_t hash_unicode(std::string_view text) {
  unsigned char greatest = 0;  // first bytes are in the order of code points
  for (char c : text) greatest = std::max(greatest, static_cast<unsigned char>(c));
  unsigned bytes = greatest < 0xC4 ? 1 : greatest < 0xF0 ? 2 : 4;
  SipHash hash;
  for (const char* at = text.data(); at != text.data() + text.size();) {
    hash.add(decode_utf8(at), bytes);
    at += utf8_length(static_cast<unsigned char>(*at));
  }
  return hash.finish();
}

std::int64_t hash_text(Vm& vm, Str& text) {
  if (text.hashed) return text.hash;
  vm.charge(text.bytes / 64);
  std::string_view view = text.view();
  text.hash = view.empty() ? 0 : text.ascii() ? hash_ascii(view) : hash_unicode(view);
  text.hashed = true;
  return text.hash;
}

// _Py_HashDouble: the number modulo 2**61 - 1, 28 bits at a time.
std::int64_t hash_float(double value) {
  if (std::isnan(value)) unsupported("the hash of a nan");
  if (std::isinf(value)) return value > 0 ? 314159 : -314159;
  int exponent;
  double mantissa = std::fabs(std::frexp(value, &exponent));
  std::uint64_t x = 0;
  while (mantissa != 0) {
    x = ((x << 28) & kHashModulus) | x >> (kHashBits - 28);
    mantissa *= 268435456.0;
    exponent -= 28;
    auto digit = static_cast<std::uint64_t>(mantissa);
    mantissa -= static_cast<double>(digit);
    x += digit;
    if (x >= kHashModulus) x -= kHashModulus;
  }
  exponent = exponent >= 0 ? exponent % kHashBits : kHashBits - 1 - ((-1 - exponent) % kHashBits);
  x = ((x << exponent) & kHashModulus) | x >> (kHashBits - exponent);
  auto hash = static_cast<std::int64_t>(x);
  if (std::signbit(value)) hash = -hash;
  return hash == -1 ? -2 : hash;
}

// The tuple hash (xxHash).
class LaneHash {
 public:
  void add(std::int64_t lane) {
    sum_ += static_cast<std::uint64_t>(lane) * 14029467366897019727u;
    sum_ = rotate(sum_, 31) * 11400714785074694791u;
  }
  std::int64_t finish(std::uint64_t size) const {
    std::uint64_t hash = sum_ + (size ^ (kSeed ^ 3527539u));
    return hash == UINT64_MAX ? 1546275796 : static_cast<std::int64_t>(hash);
  }

 private:
  static constexpr std::uint64_t kSeed = 2870177450012600261u;
  std::uint64_t sum_ = kSeed;
};

std::int64_t hash_tuple(Vm& vm, const Tuple& tuple) {
  // CPython has no limit here.
  if (vm.depth >= vm.limits.max_frames) unsupported("the hash of a deep tuple");
  Depth depth(vm);
  LaneHash hash;
  for (std::uint32_t i = 0; i < tuple.size; ++i) {
    vm.step();
    hash.add(hash_value(vm, tuple.items[i]));
  }
  return hash.finish(tuple.size);
}

std::uint64_t shuffle(std::uint64_t hash) {
  return ((hash ^ 89869747u) ^ (hash << 16)) * 3644798167u;
}

std::int64_t hash_frozenset(Vm& vm, const Set& set) {
  vm.charge(set.mask / 4 + 1);
  std::uint64_t hash = 0;
  for (std::uint32_t i = 0; i <= set.mask; ++i) {
    const SetEntry& entry = set.table[i];
    bool deleted = entry.key.is(Kind::kEllipsis) && entry.hash == -1;
    if (entry.key.is_unbound() || deleted) continue;
    hash ^= shuffle(static_cast<std::uint64_t>(entry.hash));
  }
  hash ^= (std::uint64_t{set.used} + 1) * 1927868237u;
  hash ^= (hash >> 11) ^ (hash >> 25);
  hash = hash * 69069u + 907133923u;
  return hash == UINT64_MAX ? 590923713 : static_cast<std::int64_t>(hash);
}

// What CPython hashes by its address.
constexpr std::int64_t kNoneHash = 0x5f3a1;
constexpr std::int64_t kEllipsisHash = 0x5f3b2;
constexpr std::int64_t kObjectHash = 0x5f3c3;

// Of the tuple (size, start, step), None for what does not matter.
std::int64_t hash_range(Vm& vm, const Range& range) {
  LaneHash hash;
  hash.add(hash_value(vm, Value::integer(range.size)));
  hash.add(range.size == 0 ? kNoneHash : hash_value(vm, Value::integer(range.start)));
  hash.add(range.size <= 1 ? kNoneHash : hash_value(vm, Value::integer(range.step)));
  return hash.finish(3);
}

}  // namespace

std::int64_t hash_of_object(Vm& vm, Value a) {
  switch (a.kind) {
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBig: charge_int(vm, a); return int_hash(a);
    case Kind::kFloat: return hash_float(a.f);
    case Kind::kStr: return hash_text(vm, *a.as<Str>());
    case Kind::kTuple: return hash_tuple(vm, *a.as<Tuple>());
    case Kind::kSet:
      if (a.as<Set>()->frozen) return hash_frozenset(vm, *a.as<Set>());
      break;
    case Kind::kRange: return hash_range(vm, *a.as<Range>());
    case Kind::kNone: return kNoneHash;
    case Kind::kEllipsis:
    case Kind::kNotImplemented: return kEllipsisHash;
    case Kind::kType: {
      const Type& type = *a.as<Type>();
      return kObjectHash + 1000 * static_cast<int>(type.id) + static_cast<int>(type.exc);
    }
    case Kind::kList:
    case Kind::kDict:
    case Kind::kSlice: break;
    case Kind::kDictView:
      if (a.as<DictView>()->view == View::kValues) return kObjectHash;
      break;
    case Kind::kForeign: unsupported("the hash of a foreign value");
    default: return kObjectHash;
  }
  vm.raise_type("unhashable type: '%.200s'", type_name(a));
}

}  // namespace reft
