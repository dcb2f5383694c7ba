// The kernels of integer arithmetic: schoolbook multiplication, Knuth's algorithm D.
#include "numbers/integer_limbs.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace reft {
namespace {

// at -= b * factor; returns the borrow out of the top limb.
Limb subtract_product(Limb* at, const Limb* b, std::uint32_t m, Limb factor) {
  Limb carry = 0;
  for (std::uint32_t i = 0; i < m; ++i) {
    Wide product = Wide{b[i]} * factor + carry;
    Limb low = static_cast<Limb>(product);
    carry = static_cast<Limb>(product >> kLimbBits) + (at[i] < low ? 1 : 0);
    at[i] -= low;
  }
  return carry;
}

// The 64 highest bits from the first that is set on: the top limb of a normalised divisor.
Limb leading_limb(const Limb* at, std::uint32_t size) {
  Limb top = at[size - 1];
  std::uint32_t shift = static_cast<std::uint32_t>(std::countl_zero(top));
  if (shift == 0 || size == 1) return top << shift;
  return top << shift | at[size - 2] >> (kLimbBits - shift);
}

}  // namespace

std::uint32_t trimmed(const Limb* at, std::uint32_t size) {
  while (size != 0 && at[size - 1] == 0) --size;
  return size;
}

std::uint64_t bit_length(const Limb* at, std::uint32_t size) {
  if (size == 0) return 0;
  return std::uint64_t{size} * kLimbBits - static_cast<unsigned>(std::countl_zero(at[size - 1]));
}

int compare_limbs(const Limb* a, std::uint32_t n, const Limb* b, std::uint32_t m) {
  if (n != m) return n < m ? -1 : 1;
  for (std::uint32_t i = n; i-- != 0;) {
    if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

Limb add_limbs(Limb* out, const Limb* a, std::uint32_t n, const Limb* b, std::uint32_t m) {
  Limb carry = 0;
  for (std::uint32_t i = 0; i < m; ++i) {
    Wide sum = Wide{a[i]} + b[i] + carry;
    out[i] = static_cast<Limb>(sum);
    carry = static_cast<Limb>(sum >> kLimbBits);
  }
  for (std::uint32_t i = m; i < n; ++i) {
    out[i] = a[i] + carry;
    carry = out[i] < carry ? 1 : 0;
  }
  return carry;
}

void subtract_limbs(Limb* out, const Limb* a, std::uint32_t n, const Limb* b, std::uint32_t m) {
  Limb borrow = 0;
  for (std::uint32_t i = 0; i < m; ++i) {
    Wide difference = Wide{a[i]} - b[i] - borrow;
    out[i] = static_cast<Limb>(difference);
    borrow = static_cast<Limb>(difference >> kLimbBits) & 1;
  }
  for (std::uint32_t i = m; i < n; ++i) {
    Limb limb = a[i];
    out[i] = limb - borrow;
    borrow = limb < borrow ? 1 : 0;
  }
}

void multiply_limbs(Limb* out, const Limb* a, std::uint32_t n, const Limb* b, std::uint32_t m) {
  if (n > m) {  // the longer one inside
    std::swap(a, b);
    std::swap(n, m);
  }
  std::fill_n(out, m, Limb{0});
  for (std::uint32_t i = 0; i < n; ++i) {
    Limb carry = 0;
    for (std::uint32_t j = 0; j < m; ++j) {
      Wide sum = Wide{a[i]} * b[j] + out[i + j] + carry;
      out[i + j] = static_cast<Limb>(sum);
      carry = static_cast<Limb>(sum >> kLimbBits);
    }
    out[i + m] = carry;
  }
}

Limb multiply_add(Limb* at, std::uint32_t size, Limb factor, Limb addend) {
  Limb carry = addend;
  for (std::uint32_t i = 0; i < size; ++i) {
    Wide sum = Wide{at[i]} * factor + carry;
    at[i] = static_cast<Limb>(sum);
    carry = static_cast<Limb>(sum >> kLimbBits);
  }
  return carry;
}

Limb shift_left(Limb* out, const Limb* a, std::uint32_t n, std::uint32_t bits) {
  if (bits == 0) {
    std::memmove(out, a, n * sizeof(Limb));
    return 0;
  }
  if (n == 0) return 0;
  Limb carried = a[n - 1] >> (kLimbBits - bits);
  for (std::uint32_t i = n - 1; i != 0; --i) out[i] = a[i] << bits | a[i - 1] >> (kLimbBits - bits);
  out[0] = a[0] << bits;
  return carried;
}

void shift_right(Limb* out, const Limb* a, std::uint32_t n, std::uint32_t bits) {
  if (bits == 0) {
    std::memmove(out, a, n * sizeof(Limb));
    return;
  }
  if (n == 0) return;
  for (std::uint32_t i = 0; i + 1 < n; ++i) out[i] = a[i] >> bits | a[i + 1] << (kLimbBits - bits);
  out[n - 1] = a[n - 1] >> bits;
}

bool any_bit_below(const Limb* at, std::uint32_t size, std::uint64_t bits) {
  std::uint64_t whole = std::min<std::uint64_t>(bits / kLimbBits, size);
  for (std::uint64_t i = 0; i < whole; ++i) {
    if (at[i] != 0) return true;
  }
  std::uint32_t rest = bits % kLimbBits;
  return whole < size && rest != 0 && (at[whole] << (kLimbBits - rest)) != 0;
}

Big* new_big(Vm& vm, std::uint32_t size) {
  Big* big = vm.make<Big>(Kind::kBig, size * sizeof(Limb));
  big->negative = false;
  big->size = size;
  return big;
}

void drop_big(Vm& vm, Big* big) { vm.arena.extend(big, sizeof(Big) + big->size * sizeof(Limb), 0); }

Value finish_big(Vm& vm, Big* big, bool negative) {
  std::uint32_t size = trimmed(big->limbs, big->size);
  check_bits(vm, bit_length(big->limbs, size));
  Limb low = size == 0 ? 0 : big->limbs[0];
  constexpr Limb kTop = Limb{1} << (kLimbBits - 1);
  if (size <= 1 && (low < kTop || (negative && low == kTop))) {
    drop_big(vm, big);
    return Value::integer(static_cast<std::int64_t>(negative ? 0 - low : low));
  }
  vm.arena.extend(big, sizeof(Big) + big->size * sizeof(Limb), sizeof(Big) + size * sizeof(Limb));
  big->size = size;
  big->negative = negative;
  return Value::object(big);
}

Divisor::Divisor(Vm& vm, const Limb* at, std::uint32_t size)
    : size_(size),
      shift_(static_cast<std::uint32_t>(std::countl_zero(at[size - 1]))),
      top_(leading_limb(at, size)),
      shifted_(vm, size) {
  shift_left(shifted_.at, at, size, shift_);
}

// A quotient limb from the highest three limbs; at most one too large.
Limb Divisor::estimate(const Limb* at) const {
  const Limb* divisor = shifted_.at;
  Limb quotient;
  Limb rest;
  if (at[size_] >= top_.normalised()) {
    quotient = ~Limb{0};
    rest = at[size_ - 1] + top_.normalised();
    if (rest < top_.normalised()) return quotient;
  } else {
    quotient = top_.divide(at[size_], at[size_ - 1], rest);
  }
  while (Wide{quotient} * divisor[size_ - 2] > (Wide{rest} << kLimbBits | at[size_ - 2])) {
    --quotient;
    rest += top_.normalised();
    if (rest < top_.normalised()) break;
  }
  return quotient;
}

void Divisor::divide(Limb* at, std::uint32_t size, Limb* quotient) const {
  // Dividend and divisor are shifted alike: the quotient is the same, the remainder shifted back.
  at[size] = shift_left(at, at, size, shift_);
  if (size_ == 1) {
    Limb rest = at[size];
    for (std::uint32_t j = size; j-- != 0;) {
      Limb limb = top_.divide(rest, at[j], rest);
      if (quotient != nullptr) quotient[j] = limb;
    }
    at[0] = rest >> shift_;
    return;
  }
  for (std::uint32_t j = size - size_ + 1; j-- != 0;) {
    Limb limb = estimate(at + j);
    Limb borrow = subtract_product(at + j, shifted_.at, size_, limb);
    if (at[j + size_] < borrow) {
      --limb;
      borrow -= add_limbs(at + j, at + j, size_, shifted_.at, size_);
    }
    at[j + size_] -= borrow;
    if (quotient != nullptr) quotient[j] = limb;
  }
  shift_right(at, at, size_, shift_);
}

}  // namespace reft
