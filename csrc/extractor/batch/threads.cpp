#include "batch/threads.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>
#include <vector>

namespace reft {
namespace {

constexpr std::size_t kStackBytes = 4u << 20;
constexpr std::size_t kStackNeeded = 2u << 20;  // by the deepest program

// Counts the forks between the first process and this one.
std::atomic<std::uint32_t> generation{0};

std::uint32_t fork_generation() { return generation.load(std::memory_order_relaxed); }

// Guards every `crew_`. Forking takes it, so that no child finds it locked by a thread it lacks.
// Never destroyed: threads may outlive the statics.
std::mutex& crews_mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

[[maybe_unused]] const int kWatchingForks =
    pthread_atfork([] { crews_mutex().lock(); }, [] { crews_mutex().unlock(); },
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
  return finished_.wait_for(lock, std::chrono::duration<double>(seconds),
                            [this] { return done(); });
}

bool Job::inherited() const { return generation_ != fork_generation(); }

// ---- Threads

class Threads::Crew {
 public:
  // Lets the jobs end.
  ~Crew() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (const auto& member : members_) pthread_join(member->thread, nullptr);
  }

  bool inherited() const { return generation_ != fork_generation(); }

  bool start(const std::shared_ptr<Job>& job, std::uint32_t most) {
    std::lock_guard lock(mutex_);
    recruit(std::min(most, job->chunks()));
    if (members_.empty()) return false;
    jobs_.push_back(job);
    waiting_.store(jobs_.size(), std::memory_order_relaxed);
    wake_.notify_all();
    return true;
  }

  std::uint32_t size() {
    std::lock_guard lock(mutex_);
    return static_cast<std::uint32_t>(members_.size());
  }

 private:
  struct Member {
    Crew& crew;
    Lane lane;  // made by who recruits, for whom it is no end if memory is lacking
    pthread_t thread{};
  };

  static void* enter(void* member) {
    auto& self = *static_cast<Member*>(member);
    self.crew.work(self.lane);
    self.lane.client = nullptr;  // which belongs to this thread
    return nullptr;
  }

  void recruit(std::uint32_t wanted) {
    if (members_.size() >= wanted) return;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return;
    pthread_attr_setstacksize(&attributes, kStackBytes);
    sigset_t before;
    block_signals(&before);
    while (members_.size() < wanted && recruit_one(attributes)) {
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_attr_destroy(&attributes);
  }

  bool recruit_one(const pthread_attr_t& attributes) {
    try {
      auto member = std::unique_ptr<Member>(new Member{.crew = *this, .lane = {}});
      members_.reserve(members_.size() + 1);
      if (pthread_create(&member->thread, &attributes, enter, member.get()) != 0) return false;
      pthread_setname_np(member->thread, "reft-extract");
      members_.push_back(std::move(member));
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  void work(Lane& lane) {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      // Jobs take turns: a small one does not wait for a large one's end.
      std::shared_ptr<Job> job = jobs_.front();
      std::rotate(jobs_.begin(), jobs_.begin() + 1, jobs_.end());
      lock.unlock();
      bool more = job->step(lane);
      while (more && waiting_.load(std::memory_order_relaxed) == 1) more = job->step(lane);
      lock.lock();
      if (!more) std::erase(jobs_, job);
      waiting_.store(jobs_.size(), std::memory_order_relaxed);
    }
  }

  const std::uint32_t generation_ = fork_generation();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<Job>> jobs_;
  std::atomic<std::size_t> waiting_{0};  // jobs_.size(), for those without the mutex
  std::vector<std::unique_ptr<Member>> members_;
  bool stopping_ = false;
};

Threads::Threads(std::uint32_t count) : count_(count) {}

Threads::~Threads() { close(); }

// The parent's crew: its threads are not here, and its mutex may be locked for ever. Left alone.
void Threads::disown_inherited() {
  if (crew_ != nullptr && crew_->inherited()) static_cast<void>(crew_.release());
}

// All under the mutex, so that close() finds no crew that is still being made.
bool Threads::start(const std::shared_ptr<Job>& job) {
  std::lock_guard lock(crews_mutex());
  disown_inherited();
  if (crew_ == nullptr) crew_ = std::make_unique<Crew>();
  return crew_->start(job, count_);
}

void Threads::close() {
  std::unique_ptr<Crew> last;  // destroyed when others may go on
  std::lock_guard lock(crews_mutex());
  disown_inherited();
  last = std::move(crew_);
}

std::uint32_t Threads::alive() {
  std::lock_guard lock(crews_mutex());
  disown_inherited();
  return crew_ == nullptr ? 0 : crew_->size();
}

}  // namespace reft
