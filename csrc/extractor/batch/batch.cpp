#include "batch/batch.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "batch/fingerprint.hpp"

namespace reft {
namespace {

constexpr std::uint32_t kSmallBatch = 64;      // fewer uniques: no thread is woken
constexpr std::int64_t kPatience = 4'000'000;  // steps of one row the caller can afford
constexpr std::uint32_t kLeastChunk = 4;
constexpr std::uint32_t kMostChunk = 16;  // what waits behind a slow row
constexpr std::uint32_t kHashChunk = 1024;
constexpr std::uint32_t kParallelHashing = 8192;  // rows from which threads hash them

using Seconds = std::chrono::duration<double>;

std::uint32_t chunks_of(std::size_t items, std::uint32_t chunk) {
  return static_cast<std::uint32_t>((items + chunk - 1) / chunk);
}

// Of the thread that waits; made at its first small batch.
Lane& own_lane() {
  thread_local Lane lane;
  return lane;
}

}  // namespace

Batch::Batch(std::vector<std::string_view> rows, const std::vector<Refused>& refused, Work work,
             const BatchOptions& options, std::shared_ptr<Threads> threads)
    : rows_(std::move(rows)),
      work_(std::move(work)),
      options_(options),
      threads_(std::move(threads)),
      refused_(refused) {
  if (options.deadline_s > 0) {
    auto patience = Seconds(std::min(options.deadline_s, 1e8));
    cancel_.deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(patience);
  }
}

Batch::~Batch() {
  disown_inherited();
  if (job_ == nullptr) return;
  cancel();
  while (!job_->wait(1.0)) {
  }
}

void Batch::start(bool background) {
  find_uniques();
  left_.store(order_.size(), std::memory_order_relaxed);
  if (order_.empty()) return;
  bool small = order_.size() < kSmallBatch && options_.max_steps <= kPatience;
  if (background || options_.elsewhere || !small || !has_stack_room()) hand_over();
}

bool Batch::advance(double seconds) {
  if (done()) return true;
  if (disown_inherited()) start_over();
  return job_ != nullptr ? wait_for_job(seconds) : run_here(seconds);
}

bool Batch::done() {
  if (left_.load(std::memory_order_acquire) == 0) return true;
  cancel_.over();  // if the deadline has passed, those at work are told
  return false;
}

// ---- before it runs

void Batch::find_uniques() {
  auto count = static_cast<std::uint32_t>(rows_.size());
  unique_of_.resize(count);
  first_.reserve(count);
  auto refused = refused_.begin();  // in the order of rows
  std::vector<std::uint64_t> hashes;
  std::vector<std::uint32_t> slots;  // unique + 1; 0 is free
  if (options_.dedup) {
    hashes.resize(count);
    hash_rows(hashes);
    slots.resize(std::bit_ceil(std::size_t{count} * 2 + 1));
  }
  order_.reserve(count);
  for (std::uint32_t row = 0; row < count; ++row) {
    auto fresh = static_cast<std::uint32_t>(first_.size());
    unique_of_[row] = fresh;
    bool runs = refused == refused_.end() || refused->row != row;
    if (!runs) {
      ++refused;
    } else if (options_.dedup) {
      std::size_t slot = hashes[row] & (slots.size() - 1);
      for (; slots[slot] != 0; slot = (slot + 1) & (slots.size() - 1)) {
        std::uint32_t other = first_[slots[slot] - 1];
        if (hashes[other] == hashes[row] && rows_[other] == rows_[row]) break;
      }
      if (slots[slot] != 0) {
        unique_of_[row] = slots[slot] - 1;
        continue;
      }
      slots[slot] = fresh + 1;
    }
    first_.push_back(row);
    if (runs) order_.push_back(fresh);
  }
  outcomes_.reset(new Outcome[first_.size()]);  // not cleared: each is written once
  for (const Refused& one : refused_) {
    outcomes_[unique_of_[one.row]] = outcome_of(one.status, one.why);
  }
}

void Batch::hash_rows(std::vector<std::uint64_t>& hashes) {
  auto hash_chunk = [this, &hashes](Lane&, std::uint32_t chunk) {
    std::size_t end = std::min(rows_.size(), (std::size_t{chunk} + 1) * kHashChunk);
    for (std::size_t row = std::size_t{chunk} * kHashChunk; row < end; ++row) {
      hashes[row] = fingerprint(rows_[row]);
    }
  };
  std::uint32_t chunks = chunks_of(rows_.size(), kHashChunk);
  if (rows_.size() >= kParallelHashing && threads_->count() > 1) {
    auto job = std::make_shared<Job>(chunks, hash_chunk);
    if (threads_->start(job)) {
      while (!job->wait(1.0)) {
      }
      return;
    }
  }
  for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) hash_chunk(own_lane(), chunk);
}

// The longest first: what is likely to take long shall not be what the others wait for.
void Batch::order_rows() {
  std::vector<std::uint64_t> keys(order_.size());
  for (std::size_t i = 0; i < order_.size(); ++i) {
    std::uint64_t size = std::min<std::uint64_t>(text_of(order_[i]).size(), UINT32_MAX);
    keys[i] = (UINT32_MAX - size) << 32 | order_[i];
  }
  std::sort(keys.begin(), keys.end());
  for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<std::uint32_t>(keys[i]);
}

void Batch::hand_over() {
  order_rows();
  std::size_t share = order_.size() / (std::size_t{threads_->count()} * 4);
  auto chunk_rows =
      static_cast<std::uint32_t>(std::clamp<std::size_t>(share, kLeastChunk, kMostChunk));
  auto run_chunk = [this, chunk_rows](Lane& lane, std::uint32_t chunk) {
    std::size_t begin = std::size_t{chunk} * chunk_rows;
    std::size_t end = std::min(order_.size(), begin + chunk_rows);
    run_some(lane, begin, end);
    left_.fetch_sub(end - begin, std::memory_order_acq_rel);
  };
  auto job = std::make_shared<Job>(chunks_of(order_.size(), chunk_rows), run_chunk);
  if (threads_->start(job)) job_ = std::move(job);
}

// ---- while it runs

// Of `order_`, at most kMostChunk.
void Batch::run_some(Lane& lane, std::size_t begin, std::size_t end) {
  std::array<Piece, kMostChunk> pieces;
  for (std::size_t i = begin; i < end; ++i) {
    pieces[i - begin] = {text_of(order_[i]), &outcomes_[order_[i]]};
  }
  std::span<const Piece> some(pieces.data(), end - begin);
  work_(lane, some, cancel_);
  for (const Piece& piece : some) {
    if (piece.outcome->status == Status::kUnsupported) {
      unsupported_.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

bool Batch::run_here(double seconds) {
  auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
  while (next_ < order_.size()) {
    std::size_t end = std::min<std::size_t>(order_.size(), next_ + kLeastChunk);
    run_some(own_lane(), next_, end);
    next_ = end;
    if (next_ < order_.size() && Clock::now() >= until) return false;
  }
  left_.store(0, std::memory_order_release);
  return true;
}

// Rows look at the clock when they start; one that runs meanwhile is told by whoever waits or asks.
bool Batch::wait_for_job(double seconds) {
  if (cancel_.deadline != Clock::time_point::max()) {
    double left = std::max(0.0, Seconds(cancel_.deadline - Clock::now()).count());
    if (left < seconds) {
      if (job_->wait(left)) return true;
      cancel();
      seconds -= left;
    }
  }
  return job_->wait(seconds);
}

// In a forked child lets go of the parent's job; true if there was one.
bool Batch::disown_inherited() {
  if (job_ == nullptr || !job_->inherited()) return false;
  new std::shared_ptr<Job>(std::move(job_));  // for ever
  job_ = nullptr;
  return true;
}

// What the parent's threads had done of it is not to be told.
void Batch::start_over() {
  unsupported_.store(0, std::memory_order_relaxed);
  left_.store(order_.size(), std::memory_order_relaxed);
  hand_over();
}

// ---- after it has run

Route Batch::route(std::uint32_t row) const {
  std::uint32_t unique = unique_of_[row];
  if (first_[unique] != row) return Route::kDuplicate;
  return !by_worker_.empty() && by_worker_[unique] ? Route::kWorker : Route::kFast;
}

std::vector<std::uint32_t> Batch::unsupported() const {
  std::vector<std::uint32_t> found;
  if (unsupported_.load(std::memory_order_relaxed) == 0) return found;
  for (std::uint32_t unique = 0; unique < uniques(); ++unique) {
    if (outcomes_[unique].status == Status::kUnsupported) found.push_back(unique);
  }
  return found;
}

void Batch::amend(std::uint32_t unique, const Outcome& outcome, std::string_view why,
                  std::string_view type) {
  if (by_worker_.empty()) by_worker_.resize(uniques());
  by_worker_[unique] = true;
  Outcome& mine = outcomes_[unique];
  Outcome old = mine;
  mine = outcome;
  mine.steps = old.steps;
  mine.begin = old.begin;
  mine.end = old.end;
  mine.why = notes_.emplace_back(why).c_str();
  mine.type = notes_.emplace_back(type).c_str();
}

}  // namespace reft
