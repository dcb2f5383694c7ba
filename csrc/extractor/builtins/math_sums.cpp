// Module math: sums, products and norms of many numbers, rounded as CPython 3.11 rounds them.
#include <cmath>
#include <limits>
#include <utility>

#include "builtins/math_natives.hpp"
#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "numbers/integer.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

// ---- fsum

// An exact sum of doubles: parts that do not overlap, the smallest first (Shewchuk; Hettinger's
// msum, with Dickinson's rounding).
class ExactSum {
 public:
  explicit ExactSum(Vm& vm) : vm_(vm), parts_(vm.arena.array<double>(kFirstParts)) {}

  void add(double addend) {
    vm_.charge(count_ / 8);
    double x = addend;
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < count_; ++i) {
      double y = parts_[i];
      if (std::fabs(x) < std::fabs(y)) std::swap(x, y);
      double sum = x + y;
      double lost = y - (sum - x);
      if (lost != 0) parts_[kept++] = lost;
      x = sum;
    }
    count_ = kept;
    if (x == 0) return;
    if (std::isfinite(x)) {
      push(x);
    } else {
      add_nonfinite(addend);
    }
  }

  double rounded() {
    if (nonfinite_ != 0) {
      if (std::isnan(infinite_)) vm_.raise(Exc::kValueError, "-inf + inf in fsum");
      return nonfinite_;
    }
    if (count_ == 0) return 0;
    std::uint32_t left = count_ - 1;
    double sum = parts_[left];
    double lost = 0;
    while (left > 0 && lost == 0) {
      double x = sum;
      double y = parts_[--left];
      sum = x + y;
      lost = y - (sum - x);
    }
    // A tie was rounded to even, and what comes below decides it otherwise.
    if (left > 0 && ((lost < 0 && parts_[left - 1] < 0) || (lost > 0 && parts_[left - 1] > 0))) {
      double twice = lost * 2.0;
      double other = sum + twice;
      if (twice == other - sum) sum = other;
    }
    return sum;
  }

 private:
  static constexpr std::uint32_t kFirstParts = 32;

  void push(double x) {
    if (count_ == capacity_) {
      parts_ = vm_.arena.regrow(parts_, count_, capacity_, 2 * std::size_t{capacity_});
      capacity_ *= 2;
    }
    parts_[count_++] = x;
  }

  void add_nonfinite(double addend) {
    if (std::isfinite(addend)) {
      vm_.raise(Exc::kOverflowError, "intermediate overflow in fsum");
    }
    if (std::isinf(addend)) infinite_ += addend;
    nonfinite_ += addend;
    count_ = 0;
  }

  Vm& vm_;
  double* parts_;
  std::uint32_t count_ = 0;
  std::uint32_t capacity_ = kFirstParts;
  double infinite_ = 0;   // the sum of the infinities
  double nonfinite_ = 0;  // of the nans too
};

Value math_fsum(Vm& vm, const Args& args) {
  ExactSum sum(vm);
  for_each(vm, args[0], [&](Value item) {
    sum.add(real_argument(vm, item));
    return true;
  });
  return Value::real(sum.rounded());
}

// ---- prod

Value multiply(Vm& vm, Value total, Value item) {
  if (total.is(Kind::kInt) && item.is_int()) return int_mul(vm, total, item);
  if (total.is(Kind::kFloat) && item.is(Kind::kFloat)) return Value::real(total.f * item.f);
  return binary(vm, Binary::kMul, total, item);
}

Value math_prod(Vm& vm, const Args& args) {
  expect_at_most(vm, args, "prod", 2);
  if (args.count != 1) {
    vm.raise_type("prod() takes exactly 1 positional argument (%u given)", args.count);
  }
  expect_keywords(vm, args, "prod", {N_start});
  const Value* start = args.keyword(N_start);
  Value total = start == nullptr ? Value::integer(1) : *start;
  for_each(vm, args[0], [&](Value item) {
    total = multiply(vm, total, item);
    return true;
  });
  return total;
}

constexpr Native kProd{{Kind::kNative}, math_prod, N_prod};

// ---- norms

// A sum that begins with 1, which is more than any addend, so that the rounding error of every
// addition is a difference of doubles.
class NormSum {
 public:
  void add(double x, double& lost) {
    double before = sum_;
    sum_ += x;
    lost += (before - sum_) + x;
  }
  double value(double lost) const { return sum_ - 1.0 + lost; }

 private:
  double sum_ = 1.0;
};

// x as a sum of two doubles of half the precision (Veltkamp).
struct Halves {
  explicit Halves(double x) {
    double scaled = x * 134217729.0;  // 2**27 + 1
    high = scaled - (scaled - x);
    low = x - high;
  }
  double high;
  double low;
};

// Squares are exact, their sum is compensated, and its root is corrected by one step of Newton's.
double scaled_norm(const double* at, std::uint32_t size, double scale) {
  NormSum sum;
  double lost1 = 0, lost2 = 0, lost3 = 0;
  for (std::uint32_t i = 0; i < size; ++i) {
    Halves x(at[i] * scale);
    sum.add(x.high * x.high, lost1);
    sum.add(2.0 * x.high * x.low, lost2);
    lost3 += x.low * x.low;
  }
  double root = std::sqrt(sum.value(lost1 + lost2 + lost3));
  Halves r(root);
  sum.add(-r.high * r.high, lost1);
  sum.add(-2.0 * r.high * r.low, lost2);
  sum.add(-r.low * r.low, lost3);
  double rest = sum.value(lost1 + lost2 + lost3);
  return (root + rest / (2.0 * root)) / scale;
}

// Of numbers so small that the power of two that scales them is no double.
double tiny_norm(const double* at, std::uint32_t size, double largest) {
  NormSum sum;
  double lost = 0;
  for (std::uint32_t i = 0; i < size; ++i) {
    double x = at[i] / largest;
    sum.add(x * x, lost);
  }
  return largest * std::sqrt(sum.value(lost));
}

// Absolute values, gathered, and the root of the sum of their squares.
class Norm {
 public:
  Norm(Vm& vm, std::uint32_t size) : at_(small_) {
    vm.charge(size / 4);
    if (size > kSmall) at_ = vm.arena.array<double>(size);
  }
  Norm(const Norm&) = delete;
  Norm& operator=(const Norm&) = delete;

  void add(double x) {
    x = std::fabs(x);
    if (std::isnan(x)) found_nan_ = true;
    if (x > largest_) largest_ = x;
    at_[size_++] = x;
  }

  double value() const {
    if (std::isinf(largest_)) return largest_;
    if (found_nan_) return std::numeric_limits<double>::quiet_NaN();
    if (largest_ == 0 || size_ <= 1) return largest_;
    int exponent;
    std::frexp(largest_, &exponent);
    if (exponent < -1023) return tiny_norm(at_, size_, largest_);
    return scaled_norm(at_, size_, std::ldexp(1.0, -exponent));
  }

 private:
  static constexpr std::uint32_t kSmall = 16;
  double small_[kSmall];
  double* at_;
  std::uint32_t size_ = 0;
  double largest_ = 0;
  bool found_nan_ = false;
};

Value math_hypot(Vm& vm, const Args& args) {
  Norm norm(vm, args.count);
  for (std::uint32_t i = 0; i < args.count; ++i) norm.add(real_argument(vm, args[i]));
  return Value::real(norm.value());
}

Value math_dist(Vm& vm, const Args& args) {
  const Tuple& p = *collect_tuple(vm, args[0]);
  const Tuple& q = *collect_tuple(vm, args[1]);
  if (p.size != q.size) {
    vm.raise(Exc::kValueError, "both points must have the same number of dimensions");
  }
  Norm norm(vm, p.size);
  for (std::uint32_t i = 0; i < p.size; ++i) {
    double x = real_argument(vm, p.items[i]);
    norm.add(x - real_argument(vm, q.items[i]));
  }
  return Value::real(norm.value());
}

}  // namespace

const Native* math_sum(Symbol name) {
  switch (name) {
    case N_dist: return &kMath<N_dist, math_dist, 2>;
    case N_fsum: return &kMath<N_fsum, math_fsum, 1>;
    case N_hypot: return &kMath<N_hypot, math_hypot, 0, UINT32_MAX>;
    case N_prod: return &kProd;
    default: return nullptr;
  }
}

}  // namespace reft
