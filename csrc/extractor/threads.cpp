#include "threads.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <new>
#include <utility>
#include <vector>

namespace reft {
namespace {

constexpr std::size_t kStackBytes = 4u << 20;
constexpr std::size_t kStackNeeded = 2u << 20;  // by the deepest program

std::atomic<std::uint32_t> generation{0};

// Guards every `crew_`. Forking takes it, so that no child finds it locked by a thread it lacks.
// Never destroyed: threads may outlive the statics.
std::mutex& crews_mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

[[maybe_unused]] const int kWatchingForks = pthread_atfork(
    [] { crews_mutex().lock(); }, [] { crews_mutex().unlock(); },
    [] {
      generation.fetch_add(1, std::memory_order_relaxed);
      crews_mutex().unlock();
    });

// Signals are the business of Python's threads, but for those that tell of a fault in this one.
void block_signals(sigset_t* before) {
  sigset_t blocked;
  sigfillset(&blocked);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&blocked, fault);
  pthread_sigmask(SIG_SETMASK, &blocked, before);
}

}  // namespace

std::uint32_t fork_generation() { return generation.load(std::memory_order_relaxed); }

bool has_stack_room() {
  thread_local const char* lowest = nullptr;
  if (lowest == nullptr) {
    pthread_attr_t attributes;
    void* base = nullptr;
    std::size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return false;
    pthread_attr_getstack(&attributes, &base, &size);
    pthread_attr_destroy(&attributes);
    lowest = static_cast<const char*>(base);
  }
  const char* here = static_cast<const char*>(__builtin_frame_address(0));
  return here - lowest >= static_cast<std::ptrdiff_t>(kStackNeeded);
}

// ---- Job

Job::Job(std::uint32_t chunks, Work work)
    : chunks_(chunks), work_(std::move(work)), generation_(fork_generation()), left_(chunks) {}

bool Job::step(Lane& lane) {
  std::uint32_t chunk = next_.fetch_add(1, std::memory_order_relaxed);
  if (chunk >= chunks_) return false;
  work_(lane, chunk);
  if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    std::lock_guard lock(mutex_);
    finished_.notify_all();
  }
  return true;
}

bool Job::wait(double seconds) {
  std::unique_lock lock(mutex_);
  return finished_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return done(); });
}

bool Job::orphaned() const { return generation_ != fork_generation() && !done(); }

// ---- Threads

class Threads::Crew {
 public:
  Crew() : generation(fork_generation()) {}
  ~Crew() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (pthread_t thread : threads_) pthread_join(thread, nullptr);
  }

  const std::uint32_t generation;

  bool start(const std::shared_ptr<Job>& job, std::uint32_t most) {
    std::lock_guard lock(mutex_);
    recruit(std::min(most, job->chunks()));
    if (threads_.empty()) return false;
    jobs_.push_back(job);
    waiting_.store(jobs_.size(), std::memory_order_relaxed);
    wake_.notify_all();
    return true;
  }

  std::uint32_t size() {
    std::lock_guard lock(mutex_);
    return static_cast<std::uint32_t>(threads_.size());
  }

 private:
  static void* enter(void* crew) {
    static_cast<Crew*>(crew)->work();
    return nullptr;
  }

  void recruit(std::uint32_t wanted) {
    if (threads_.size() >= wanted) return;
    threads_.reserve(wanted);
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return;
    pthread_attr_setstacksize(&attributes, kStackBytes);
    sigset_t before;
    block_signals(&before);
    while (threads_.size() < wanted) {
      pthread_t thread;
      if (pthread_create(&thread, &attributes, enter, this) != 0) break;
      pthread_setname_np(thread, "reft-extract");
      threads_.push_back(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
  }

  void work() {
    Lane lane;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      std::shared_ptr<Job> job = std::move(jobs_.front());
      jobs_.pop_front();
      jobs_.push_back(job);  // jobs take turns: a small one does not wait for a large one's end
      lock.unlock();
      bool more = job->step(lane);
      while (more && waiting_.load(std::memory_order_relaxed) == 1) more = job->step(lane);
      lock.lock();
      if (!more) std::erase(jobs_, job);
      waiting_.store(jobs_.size(), std::memory_order_relaxed);
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> jobs_;
  std::atomic<std::size_t> waiting_{0};  // jobs_.size(), for those without the mutex
  std::vector<pthread_t> threads_;
  bool stopping_ = false;
};

std::shared_ptr<Threads::Crew> Threads::crew(bool make) {
  std::lock_guard lock(crews_mutex());
  if (crew_ != nullptr && crew_->generation != fork_generation()) {
    // The parent's: its threads are not here, and its mutex may be locked for ever. Left alone.
    new std::shared_ptr<Crew>(std::move(crew_));
    crew_ = nullptr;
  }
  if (crew_ == nullptr && make) crew_ = std::make_shared<Crew>();
  return crew_;
}

bool Threads::start(const std::shared_ptr<Job>& job) { return crew(true)->start(job, count_); }

void Threads::close() {
  std::shared_ptr<Crew> last = crew(false);
  std::lock_guard lock(crews_mutex());
  if (crew_ == last) crew_ = nullptr;
}

std::uint32_t Threads::alive() {
  std::shared_ptr<Crew> now = crew(false);
  return now == nullptr ? 0 : now->size();
}

}  // namespace reft
