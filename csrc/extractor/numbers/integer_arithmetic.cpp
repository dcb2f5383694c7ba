// Integers: sums, products, bits and shifts.
#include <algorithm>

#include "numbers/integer.hpp"
#include "numbers/integer_limbs.hpp"

namespace reft {
namespace {

// x + y, or x - y if `flip`.
Value add_signed(Vm& vm, const Magnitude& x, const Magnitude& y, bool flip) {
  bool y_negative = y.negative != flip;
  std::uint32_t longest = std::max(x.size, y.size);
  vm.charge(longest / 16 + 1);
  Big* sum = new_big(vm, longest + 1);
  if (x.negative == y_negative) {
    const Magnitude& more = x.size < y.size ? y : x;
    const Magnitude& less = x.size < y.size ? x : y;
    sum->limbs[longest] = add_limbs(sum->limbs, more.at, more.size, less.at, less.size);
    return finish_big(vm, sum, x.negative);
  }
  sum->limbs[longest] = 0;
  if (compare_limbs(x.at, x.size, y.at, y.size) < 0) {
    subtract_limbs(sum->limbs, y.at, y.size, x.at, x.size);
    return finish_big(vm, sum, y_negative);
  }
  subtract_limbs(sum->limbs, x.at, x.size, y.at, y.size);
  return finish_big(vm, sum, x.negative);
}

// The limbs of a number in two's complement, one after the other, without an end.
class Complement {
 public:
  explicit Complement(const Magnitude& number) : number_(number), carry_(number.negative ? 1 : 0) {}
  Limb next() {
    Limb limb = position_ < number_.size ? number_.at[position_++] : 0;
    if (!number_.negative) return limb;
    limb = ~limb + carry_;
    carry_ = carry_ != 0 && limb == 0 ? 1 : 0;
    return limb;
  }

 private:
  const Magnitude& number_;
  std::uint32_t position_ = 0;
  Limb carry_;
};

template <typename Operation>
Value bitwise(Vm& vm, Value a, Value b, Operation operation) {
  if (a.is_small_int() && b.is_small_int()) {
    return Value::integer(
        static_cast<std::int64_t>(operation(static_cast<Limb>(a.i), static_cast<Limb>(b.i))));
  }
  Magnitude x(a);
  Magnitude y(b);
  std::uint32_t size = std::max(x.size, y.size) + 1;  // one limb for the sign
  vm.charge(size / 8 + 1);
  Big* result = new_big(vm, size);
  Complement left(x);
  Complement right(y);
  for (std::uint32_t i = 0; i < size; ++i) result->limbs[i] = operation(left.next(), right.next());
  bool negative = result->limbs[size - 1] >> (kLimbBits - 1) != 0;
  Limb carry = 1;
  for (std::uint32_t i = 0; negative && i < size; ++i) {
    result->limbs[i] = ~result->limbs[i] + carry;
    carry = carry != 0 && result->limbs[i] == 0 ? 1 : 0;
  }
  return finish_big(vm, result, negative);
}

// A shift count that is not negative; more than any integer has bits if it is a Big.
std::uint64_t shift_count(Vm& vm, Value b) {
  if (int_sign(b) < 0) vm.raise(Exc::kValueError, "negative shift count");
  return b.is_small_int() ? static_cast<std::uint64_t>(b.i) : UINT64_MAX / 2;
}

}  // namespace

Value big::add(Vm& vm, Value a, Value b) {
  return add_signed(vm, Magnitude(a), Magnitude(b), false);
}

Value big::subtract(Vm& vm, Value a, Value b) {
  return add_signed(vm, Magnitude(a), Magnitude(b), true);
}

Value big::multiply(Vm& vm, Value a, Value b) {
  Magnitude x(a);
  Magnitude y(b);
  if (x.size == 0 || y.size == 0) return Value::integer(0);
  check_bits(vm, x.bits() + y.bits() - 1);
  vm.charge(std::uint64_t{x.size} * y.size / 16 + 1);
  Big* product = new_big(vm, x.size + y.size);
  multiply_limbs(product->limbs, x.at, x.size, y.at, y.size);
  return finish_big(vm, product, x.negative != y.negative);
}

Value int_neg(Vm& vm, Value a) { return int_sub(vm, Value::integer(0), a); }

Value int_abs(Vm& vm, Value a) {
  if (int_sign(a) < 0) return int_neg(vm, a);
  return a.is_small_int() ? Value::integer(a.i) : a;
}

Value int_invert(Vm& vm, Value a) {
  if (a.is_small_int()) return Value::integer(~a.i);
  return int_sub(vm, Value::integer(-1), a);
}

Value int_and(Vm& vm, Value a, Value b) {
  return bitwise(vm, a, b, [](Limb x, Limb y) { return x & y; });
}

Value int_or(Vm& vm, Value a, Value b) {
  return bitwise(vm, a, b, [](Limb x, Limb y) { return x | y; });
}

Value int_xor(Vm& vm, Value a, Value b) {
  return bitwise(vm, a, b, [](Limb x, Limb y) { return x ^ y; });
}

Value int_lshift(Vm& vm, Value a, Value b) {
  std::uint64_t count = shift_count(vm, b);
  std::int64_t shifted;
  if (a.is_small_int() && count < kLimbBits - 1 &&
      !__builtin_mul_overflow(a.i, std::int64_t{1} << count, &shifted)) {
    return Value::integer(shifted);
  }
  Magnitude x(a);
  if (x.size == 0) return Value::integer(0);
  check_bits(vm, x.bits() + count);
  std::uint32_t whole = static_cast<std::uint32_t>(count / kLimbBits);
  std::uint32_t size = whole + x.size;
  vm.charge(size / 16 + 1);
  Big* result = new_big(vm, size + 1);
  std::fill_n(result->limbs, whole, Limb{0});
  result->limbs[size] = shift_left(result->limbs + whole, x.at, x.size, count % kLimbBits);
  return finish_big(vm, result, x.negative);
}

Value int_rshift(Vm& vm, Value a, Value b) {
  std::uint64_t count = shift_count(vm, b);
  if (a.is_small_int()) {
    return Value::integer(a.i >> std::min<std::uint64_t>(count, kLimbBits - 1));
  }
  Magnitude x(a);
  if (count >= x.bits()) return Value::integer(x.negative ? -1 : 0);
  vm.charge(x.size / 16 + 1);
  std::uint32_t whole = static_cast<std::uint32_t>(count / kLimbBits);
  std::uint32_t size = x.size - whole;
  Big* result = new_big(vm, size + 1);
  shift_right(result->limbs, x.at + whole, size, count % kLimbBits);
  // Rounds down, so a negative number is one further from zero when it loses bits.
  Limb lost = x.negative && any_bit_below(x.at, x.size, count) ? 1 : 0;
  result->limbs[size] = add_limbs(result->limbs, result->limbs, size, &lost, 1);
  return finish_big(vm, result, x.negative);
}

}  // namespace reft
