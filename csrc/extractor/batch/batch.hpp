// Many rows of text to as many outcomes: equal rows run once, long ones first, in chunks that
// threads share. What a row is (a program, a text) and who runs it is a function's business.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "batch/piece.hpp"
#include "batch/threads.hpp"
#include "extract/extract.hpp"

namespace reft {

// Gives all pieces their outcomes: kCancelled where it was told to stop before. Throws nothing.
using Work = std::function<void(Lane& lane, std::span<const Piece> pieces, Cancel& cancel)>;

struct BatchOptions {
  bool dedup = true;
  std::int64_t max_steps = 1'000'000;  // of one row: how long the caller's thread may be busy
  double deadline_s = 0;               // from now on; 0: none
  bool elsewhere = false;              // never on the thread of who waits, if that can be
};

class Batch {
 public:
  // A row that cannot be run; its text is not looked at.
  struct Refused {
    std::uint32_t row;
    Status status;
    const char* why;
  };

  // The texts must stay where they are until the batch is done or destroyed.
  Batch(std::vector<std::string_view> rows, const std::vector<Refused>& refused, Work work,
        const BatchOptions& options, std::shared_ptr<Threads> threads);
  ~Batch();  // cancels, and waits for those at work
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  // Finds the duplicates and, unless the batch is small enough to be run by whoever waits for it,
  // hands it to the threads. `background`: always to the threads.
  void start(bool background);
  // Works or waits for at most `seconds`; true when all is done. One thread at a time.
  bool advance(double seconds);
  // By any thread.
  bool done();
  // Rows not yet run get kCancelled. By any thread.
  void cancel() { cancel_.flag.store(true, std::memory_order_relaxed); }

  // ---- once it is done

  std::uint32_t rows() const { return static_cast<std::uint32_t>(rows_.size()); }
  // The different rows; outcomes belong to these.
  std::uint32_t uniques() const { return static_cast<std::uint32_t>(first_.size()); }
  std::uint32_t unique_of(std::uint32_t row) const { return unique_of_[row]; }
  std::string_view text_of(std::uint32_t unique) const { return rows_[first_[unique]]; }
  const Outcome& outcome(std::uint32_t unique) const { return outcomes_[unique]; }
  Route route(std::uint32_t row) const;
  // The uniques that only CPython can run.
  std::vector<std::uint32_t> unsupported() const;
  // Puts in what a worker made of one. The texts are copied.
  void amend(std::uint32_t unique, const Outcome& outcome, std::string_view why,
             std::string_view type);

 private:
  using Clock = std::chrono::steady_clock;

  void find_uniques();
  void hash_rows(std::vector<std::uint64_t>& hashes);
  void order_rows();
  void hand_over();
  void run_some(Lane& lane, std::size_t begin, std::size_t end);
  bool run_here(double seconds);
  bool wait_for_job(double seconds);
  bool disown_inherited();
  void start_over();

  const std::vector<std::string_view> rows_;
  const Work work_;
  const BatchOptions options_;
  const std::shared_ptr<Threads> threads_;
  std::vector<std::uint32_t> unique_of_;  // by row
  std::vector<std::uint32_t> first_;      // by unique: the row where it stands first
  std::vector<std::uint32_t> order_;      // the uniques to run
  std::vector<bool> by_worker_;           // by unique; empty if none
  std::unique_ptr<Outcome[]> outcomes_;   // by unique
  std::deque<std::string> notes_;         // what amended outcomes point to
  std::vector<Refused> refused_;
  std::shared_ptr<Job> job_;
  std::size_t next_ = 0;  // of order_, when run here
  Cancel cancel_;
  std::atomic<std::size_t> left_{0};  // of order_, not yet run
  std::atomic<std::uint32_t> unsupported_{0};
};

}  // namespace reft
