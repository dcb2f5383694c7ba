// The sort of CPython 3.11: natural runs, merged in the order of "powersort", with galloping.
//
// Any stable sort orders what has an order. This one compares the same pairs in the same sequence
// as CPython, so that also nan, sets (whose `<` is no order), and a comparison that raises half-way
// leave behind what they leave there.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/vm.hpp"

namespace reft {

struct Keyed {
  Value key;
  Value value;
};

inline Value key_of(Value item) { return item; }
inline Value key_of(const Keyed& item) { return item.key; }

// Less: bool(Value, Value), may raise.
template <typename Item, typename Less>
class Timsort {
 public:
  using Size = std::ptrdiff_t;

  Timsort(Vm& vm, Item* items, Size size, Less less)
      : vm_(vm), items_(items), size_(size), less_(less) {}

  void run() {
    Size least = shortest_run();
    for (Size start = 0; start < size_;) {
      Size found = take_run(start);
      if (found < least) {
        Size forced = std::min(least, size_ - start);
        insert_rest(items_ + start, found, forced);
        found = forced;
      }
      push(start, found);
      start += found;
    }
    while (count_ > 1) {
      int at = count_ - 2;
      if (at > 0 && runs_[at - 1].size < runs_[at + 1].size) --at;
      merge_with_next(at);
    }
  }

 private:
  static constexpr Size kMinGallop = 7;
  static constexpr int kMaxRuns = 85;

  struct Run {
    Size start;
    Size size;
    int power;
  };

  bool less(const Item& a, const Item& b) { return less_(key_of(a), key_of(b)); }

  // The size divided by a power of two, rounded up, so that it is less than 64.
  Size shortest_run() const {
    Size n = size_;
    Size rest = 0;
    for (; n >= 64; n >>= 1) rest |= n & 1;
    return n + rest;
  }

  // The size of the run that starts there, ascending from now on.
  Size take_run(Size start) {
    Item* run = items_ + start;
    Size left = size_ - start;
    if (left == 1) return 1;
    Size n = 2;
    if (!less(run[1], run[0])) {
      while (n < left && !less(run[n], run[n - 1])) ++n;
      return n;
    }
    while (n < left && less(run[n], run[n - 1])) ++n;
    std::reverse(run, run + n);
    return n;
  }

  // Binary insertion: the first `sorted` of `count` items are.
  void insert_rest(Item* items, Size sorted, Size count) {
    for (Size next = sorted; next < count; ++next) {
      Item pivot = items[next];
      Size low = 0;
      Size high = next;
      while (low < high) {
        Size middle = low + ((high - low) >> 1);
        if (less(pivot, items[middle])) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      std::copy_backward(items + low, items + next, items + next + 1);
      items[low] = pivot;
    }
  }

  // How deep the boundary between two neighbouring runs lies in a perfect tree over all items: the
  // first binary digit in which their midpoints, as fractions of the whole, differ.
  int power_of(const Run& left, Size right_size) const {
    Size a = 2 * left.start + left.size;
    Size b = a + left.size + right_size;
    for (int power = 1;; ++power) {
      if (a >= size_) {
        a -= size_;
        b -= size_;
      } else if (b >= size_) {
        return power;
      }
      a <<= 1;
      b <<= 1;
    }
  }

  void push(Size start, Size size) {
    if (count_ > 0) {
      int power = power_of(runs_[count_ - 1], size);
      while (count_ > 1 && runs_[count_ - 2].power > power) merge_with_next(count_ - 2);
      runs_[count_ - 1].power = power;
    }
    runs_[count_++] = Run{start, size, 0};
  }

  void merge_with_next(int at) {
    Item* a = items_ + runs_[at].start;
    Item* b = items_ + runs_[at + 1].start;
    Size na = runs_[at].size;
    Size nb = runs_[at + 1].size;
    runs_[at].size = na + nb;
    if (at == count_ - 3) runs_[at + 1] = runs_[at + 2];
    --count_;
    // What is in its place already takes no part.
    Size skipped = gallop_right(key_of(*b), a, na, 0);
    a += skipped;
    na -= skipped;
    if (na == 0) return;
    nb = gallop_left(key_of(a[na - 1]), b, nb, nb - 1);
    if (nb == 0) return;
    if (na <= nb) {
      LowMerge(*this, a, na, b, nb).run();
    } else {
      HighMerge(*this, a, na, b, nb).run();
    }
  }

  // Where the key belongs among sorted items, before (left) or behind (right) its equals; the
  // search starts at `hint` and doubles its step.
  Size gallop_left(Value key, const Item* items, Size n, Size hint) {
    return gallop(n, hint, [&](Size i) { return less_(key_of(items[i]), key); });
  }
  Size gallop_right(Value key, const Item* items, Size n, Size hint) {
    return gallop(n, hint, [&](Size i) { return !less_(key, key_of(items[i])); });
  }

  // The first item that is not `before` the place.
  template <typename Before>
  static Size gallop(Size n, Size hint, Before before) {
    Size last = 0;
    Size step = 1;
    Size low;
    Size high;
    if (before(hint)) {
      Size most = n - hint;
      while (step < most && before(hint + step)) {
        last = step;
        step = 2 * step + 1;
      }
      low = hint + last + 1;
      high = hint + std::min(step, most);
    } else {
      Size most = hint + 1;
      while (step < most && !before(hint - step)) {
        last = step;
        step = 2 * step + 1;
      }
      low = hint - std::min(step, most) + 1;
      high = hint - last;
    }
    while (low < high) {
      Size middle = low + ((high - low) >> 1);
      if (before(middle)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return high;
  }

  // A copy of the shorter run.
  Item* copied(const Item* items, Size n) {
    if (spare_ == nullptr) spare_ = vm_.arena.array<Item>(static_cast<std::size_t>(size_ / 2));
    std::copy_n(items, n, spare_);
    return spare_;
  }

  // Merges two runs from the left; a copy of the left one leaves the room for it.
  class LowMerge {
   public:
    LowMerge(Timsort& sort, Item* a, Size na, Item* b, Size nb)
        : sort_(sort), to_(a), a_(sort.copied(a, na)), b_(b), na_(na), nb_(nb) {}
    // Also when a comparison raises, so that no item is lost.
    ~LowMerge() { std::copy_n(a_, na_, to_); }
    LowMerge(const LowMerge&) = delete;
    LowMerge& operator=(const LowMerge&) = delete;

    void run() {
      take_b(1);
      if (nb_ > 0 && na_ > 1) {
        while (one_by_one() && in_runs()) {
        }
      }
      take_b(nb_);  // the last of `a` comes behind
    }

   private:
    void take_a(Size n) {
      std::copy_n(a_, n, to_);
      to_ += n;
      a_ += n;
      na_ -= n;
    }
    void take_b(Size n) {
      std::copy(b_, b_ + n, to_);
      to_ += n;
      b_ += n;
      nb_ -= n;
    }

    // False: done. True: one side wins so often that galloping pays.
    bool one_by_one() {
      Size wins_a = 0;
      Size wins_b = 0;
      while (wins_a < sort_.min_gallop_ && wins_b < sort_.min_gallop_) {
        if (sort_.less(*b_, *a_)) {
          take_b(1);
          if (nb_ == 0) return false;
          ++wins_b;
          wins_a = 0;
        } else {
          take_a(1);
          if (na_ == 1) return false;
          ++wins_a;
          wins_b = 0;
        }
      }
      return true;
    }

    // False: done. True: galloping does not pay any more.
    bool in_runs() {
      ++sort_.min_gallop_;
      Size wins_a;
      Size wins_b;
      do {
        if (sort_.min_gallop_ > 1) --sort_.min_gallop_;
        wins_a = sort_.gallop_right(key_of(*b_), a_, na_, 0);
        take_a(wins_a);
        if (na_ <= 1) return false;  // 0: if the comparison is inconsistent
        take_b(1);
        if (nb_ == 0) return false;
        wins_b = sort_.gallop_left(key_of(*a_), b_, nb_, 0);
        take_b(wins_b);
        if (nb_ == 0) return false;
        take_a(1);
        if (na_ == 1) return false;
      } while (wins_a >= kMinGallop || wins_b >= kMinGallop);
      ++sort_.min_gallop_;
      return true;
    }

    Timsort& sort_;
    Item* to_;
    Item* a_;
    Item* b_;
    Size na_;
    Size nb_;
  };

  // The same from the right; the runs' starts stay, their ends move down.
  class HighMerge {
   public:
    HighMerge(Timsort& sort, Item* a, Size na, Item* b, Size nb)
        : sort_(sort), end_(b + nb), a_(a), b_(sort.copied(b, nb)), na_(na), nb_(nb) {}
    ~HighMerge() { std::copy_n(b_, nb_, end_ - nb_); }
    HighMerge(const HighMerge&) = delete;
    HighMerge& operator=(const HighMerge&) = delete;

    void run() {
      take_a(1);
      if (na_ > 0 && nb_ > 1) {
        while (one_by_one() && in_runs()) {
        }
      }
      take_a(na_);  // the first of `b` comes before
    }

   private:
    void take_a(Size n) {
      std::copy_backward(a_ + na_ - n, a_ + na_, end_);
      end_ -= n;
      na_ -= n;
    }
    void take_b(Size n) {
      std::copy_n(b_ + nb_ - n, n, end_ - n);
      end_ -= n;
      nb_ -= n;
    }

    bool one_by_one() {
      Size wins_a = 0;
      Size wins_b = 0;
      while (wins_a < sort_.min_gallop_ && wins_b < sort_.min_gallop_) {
        if (sort_.less(b_[nb_ - 1], a_[na_ - 1])) {
          take_a(1);
          if (na_ == 0) return false;
          ++wins_a;
          wins_b = 0;
        } else {
          take_b(1);
          if (nb_ == 1) return false;
          ++wins_b;
          wins_a = 0;
        }
      }
      return true;
    }

    bool in_runs() {
      ++sort_.min_gallop_;
      Size wins_a;
      Size wins_b;
      do {
        if (sort_.min_gallop_ > 1) --sort_.min_gallop_;
        wins_a = na_ - sort_.gallop_right(key_of(b_[nb_ - 1]), a_, na_, na_ - 1);
        take_a(wins_a);
        if (na_ == 0) return false;
        take_b(1);
        if (nb_ == 1) return false;
        wins_b = nb_ - sort_.gallop_left(key_of(a_[na_ - 1]), b_, nb_, nb_ - 1);
        take_b(wins_b);
        if (nb_ <= 1) return false;
        take_a(1);
        if (na_ == 0) return false;
      } while (wins_a >= kMinGallop || wins_b >= kMinGallop);
      ++sort_.min_gallop_;
      return true;
    }

    Timsort& sort_;
    Item* end_;
    Item* a_;
    Item* b_;
    Size na_;
    Size nb_;
  };

  Vm& vm_;
  Item* items_;
  Size size_;
  Less less_;
  Item* spare_ = nullptr;
  Size min_gallop_ = kMinGallop;
  int count_ = 0;
  Run runs_[kMaxRuns];
};

}  // namespace reft
