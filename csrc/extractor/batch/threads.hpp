// Threads that work through jobs. They are made at first use, never at import, outlive their job,
// and end at close(). A forked child has none of them and makes its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "batch/client.hpp"
#include "extract/extract.hpp"

namespace reft {

// What one thread keeps from row to row.
struct Lane {
  Runner runner;
  std::unique_ptr<Client> client;  // of isolation "process"
};

// Work in numbered chunks that any thread may do; `work` throws nothing.
class Job {
 public:
  using Work = std::function<void(Lane& lane, std::uint32_t chunk)>;

  Job(std::uint32_t chunks, Work work);
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  std::uint32_t chunks() const { return chunks_; }
  // Does one chunk; false if none is left to claim (others may still be at theirs).
  bool step(Lane& lane);
  bool done() const { return left_.load(std::memory_order_acquire) == 0; }
  // Waits until all chunks are done; false if `seconds` have passed before.
  bool wait(double seconds);
  // True in a forked child: the threads of this job do not exist here, and may have left its mutex
  // locked. Not to be waited for, nor destroyed.
  bool inherited() const;

 private:
  const std::uint32_t chunks_;
  const Work work_;
  const std::uint32_t generation_;
  std::atomic<std::uint32_t> next_{0};
  std::atomic<std::uint32_t> left_;
  std::mutex mutex_;
  std::condition_variable finished_;
};

// At most `count` threads. All functions may be called by any thread at any time.
class Threads {
 public:
  explicit Threads(std::uint32_t count);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  std::uint32_t count() const { return count_; }
  // Hands over a job; false if the machine gives no thread at all: then the caller must do it.
  bool start(const std::shared_ptr<Job>& job);
  // Lets the jobs end, then the threads. A later start() makes new ones.
  void close();
  // Threads that exist now.
  std::uint32_t alive();

 private:
  class Crew;
  void disown_inherited();
  const std::uint32_t count_;
  std::unique_ptr<Crew> crew_;
};

// True if the calling thread has stack enough left to run programs itself.
bool has_stack_room();

}  // namespace reft
