// Builtin functions of iterables: all, any, iter, len, max, min, next, sorted, sum.
#include "builtins/builtin_functions.hpp"
#include "containers/container_methods.hpp"
#include "containers/iterate.hpp"
#include "containers/iterators.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

// One addition of sum(), as CPython 3.11 does it: from left to right, floats without compensation.
inline Value add_item(Vm& vm, Value total, Value item) {
  if (total.is(Kind::kFloat)) {
    if (item.is(Kind::kFloat)) return Value::real(total.f + item.f);
    if (item.is_small_int()) return Value::real(total.f + static_cast<double>(item.i));
  } else if (total.is(Kind::kInt) && item.is_small_int()) {
    std::int64_t result;
    if (!__builtin_add_overflow(total.i, item.i, &result)) return Value::integer(result);
  }
  return binary(vm, Binary::kAdd, total, item);
}

inline bool beats(Vm& vm, Compare op, Value a, Value b) {
  if (a.is(Kind::kInt) && b.is(Kind::kInt)) return op == Compare::kLt ? a.i < b.i : a.i > b.i;
  if (a.is(Kind::kFloat) && b.is(Kind::kFloat)) return op == Compare::kLt ? a.f < b.f : a.f > b.f;
  return compare(vm, op, a, b);
}

// The best item so far, and what it is compared by.
class Contest {
 public:
  Contest(Vm& vm, Compare op, const Value* key) : vm_(vm), op_(op) {
    if (key != nullptr && !key->is_none()) key_ = *key;
  }
  void enter(Value item) {
    Value rank = key_.is_unbound() ? item : call(vm_, key_, &item, 1);
    if (!best_.is_unbound() && !beats(vm_, op_, rank, best_rank_)) return;  // of equals, the first
    best_ = item;
    best_rank_ = rank;
  }
  Value best() const { return best_; }

 private:
  Vm& vm_;
  Compare op_;
  Value key_;
  Value best_;
  Value best_rank_;
};

Value extreme(Vm& vm, const Args& args, const char* name, Compare op) {
  if (args.count == 0) vm.raise_type("%s expected at least 1 argument, got 0", name);
  expect_at_most(vm, Args{nullptr, 0, args.keywords, args.keyword_count}, name, 2);
  expect_keywords(vm, args, name, {N_key, N_default});
  const Value* fallback = args.keyword(N_default);
  Contest contest(vm, op, args.keyword(N_key));
  if (args.count > 1) {
    if (fallback != nullptr) {
      vm.raise_type("Cannot specify a default for %s() with multiple positional arguments", name);
    }
    vm.charge(args.count);
    for (std::uint32_t i = 0; i < args.count; ++i) contest.enter(args[i]);
    return contest.best();
  }
  for_each(vm, args[0], [&](Value item) {
    contest.enter(item);
    return true;
  });
  if (!contest.best().is_unbound()) return contest.best();
  if (fallback != nullptr) return *fallback;
  vm.raise(Exc::kValueError, "%s() arg is an empty sequence", name);
}

}  // namespace

Value builtin_all(Vm& vm, const Args& args) {
  bool all = true;
  for_each(vm, one_argument(vm, args, "all"), [&](Value item) { return all = truth(vm, item); });
  return Value::boolean(all);
}

Value builtin_any(Vm& vm, const Args& args) {
  bool any = false;
  for_each(vm, one_argument(vm, args, "any"), [&](Value item) { return !(any = truth(vm, item)); });
  return Value::boolean(any);
}

Value builtin_iter(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "iter");
  expect_count(vm, args, "iter", 1, 2);
  if (args.count == 1) return iterate(vm, args[0]);
  require_known(args[0]);
  if (!is_callable(args[0])) vm.raise_type("iter(v, w): v must be callable");
  return make_callable_iterator(vm, args[0], args[1]);
}

Value builtin_len(Vm& vm, const Args& args) {
  return Value::integer(length(vm, one_argument(vm, args, "len")));
}

Value builtin_max(Vm& vm, const Args& args) { return extreme(vm, args, "max", Compare::kGt); }
Value builtin_min(Vm& vm, const Args& args) { return extreme(vm, args, "min", Compare::kLt); }

Value builtin_next(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "next");
  expect_count(vm, args, "next", 1, 2);
  require_known(args[0]);
  if (!args[0].is(Kind::kIterator) && !args[0].is(Kind::kGenerator)) {
    vm.raise_type("'%s' object is not an iterator", type_name(args[0]));
  }
  Value item;
  if (advance(vm, args[0], item)) return item;
  if (args.count == 2) return args[1];
  // A generator leaves what it has returned.
  if (item.is_unbound() || item.is_none()) vm.raise_without_message(Exc::kStopIteration);
  vm.raise_with(Exc::kStopIteration, item);
}

Value builtin_sorted(Vm& vm, const Args& args) {
  expect_one(vm, args, "sorted");
  List* list = collect(vm, args[0]);
  sort_with_keywords(vm, *list, args);
  return Value::object(list);
}

Value builtin_sum(Vm& vm, const Args& args) {
  expect_at_most(vm, args, "sum", 2);
  if (args.count == 0) vm.raise_type("sum() takes at least 1 positional argument (0 given)");
  expect_keywords(vm, args, "sum", {N_start});
  const Value* start = args.count == 2 ? &args.at[1] : args.keyword(N_start);
  Value total = start == nullptr ? Value::integer(0) : *start;
  if (total.is(Kind::kStr)) {
    iterate(vm, args[0]);  // whose TypeError comes first
    vm.raise_type("sum() can't sum strings [use ''.join(seq) instead]");
  }
  for_each(vm, args[0], [&](Value item) {
    total = add_item(vm, total, item);
    return true;
  });
  return total;
}

}  // namespace reft
