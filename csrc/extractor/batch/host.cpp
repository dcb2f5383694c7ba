#include "batch/host.hpp"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "batch/frames.hpp"
#include "batch/piece.hpp"

namespace reft {
namespace {

constexpr std::size_t kFlushBytes = 4096;
constexpr std::uint64_t kFlushNanos = 5'000'000;
constexpr std::size_t kRead = 1u << 16;
constexpr rlim_t kSlack = 256u << 20;  // of address space, beside a program's own
constexpr rlim_t kUnknown = 1u << 30;  // address space of a process that cannot be asked

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t kArchitecture = 0;
#endif

// ---- locking down

void limit(int resource, rlim_t most, bool& all) {
  rlimit value{most, most};
  all = all && setrlimit(static_cast<__rlimit_resource_t>(resource), &value) == 0;
}

rlim_t address_space() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  unsigned long pages = 0;
  if (file == nullptr) return kUnknown;
  int found = std::fscanf(file, "%lu", &pages);
  std::fclose(file);
  return found == 1 ? pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) : kUnknown;
}

bool close_others(int channel) {
  bool closed = syscall(__NR_close_range, channel + 1, ~0u, 0) == 0;
  if (!closed) {
    for (int fd = channel + 1; fd < 65'536; ++fd) close(fd);
  }
  int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd) dup2(nothing, fd);
  return nothing >= 0 && close(nothing) == 0;
}

sock_filter statement(std::uint16_t code, std::uint32_t value) { return BPF_STMT(code, value); }
sock_filter jump(std::uint16_t code, std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
  return BPF_JUMP(code, value, yes, no);
}

// Reading and writing the channel, memory that is not code, and ending: nothing else. All other
// calls end the process.
std::vector<sock_filter> filter(int channel) {
  constexpr std::uint16_t kLoad = BPF_LD | BPF_W | BPF_ABS;
  constexpr std::uint16_t kEqual = BPF_JMP | BPF_JEQ | BPF_K;
  constexpr std::uint16_t kAny = BPF_JMP | BPF_JSET | BPF_K;
  constexpr std::uint16_t kReturn = BPF_RET | BPF_K;
  auto argument = [](int i) {
    return statement(kLoad, static_cast<std::uint32_t>(offsetof(seccomp_data, args) + 8 * i));
  };
  const sock_filter allow = statement(kReturn, SECCOMP_RET_ALLOW);
  const sock_filter kill = statement(kReturn, SECCOMP_RET_KILL_PROCESS);
  std::vector<sock_filter> all = {statement(kLoad, offsetof(seccomp_data, arch)),
                                  jump(kEqual, kArchitecture, 1, 0), kill,
                                  statement(kLoad, offsetof(seccomp_data, nr))};
  for (int call : {__NR_read, __NR_write}) {
    all.insert(all.end(), {jump(kEqual, static_cast<std::uint32_t>(call), 0, 4), argument(0),
                           jump(kEqual, static_cast<std::uint32_t>(channel), 0, 1), allow, kill});
  }
  for (int call : {__NR_mmap, __NR_mprotect}) {
    all.insert(all.end(), {jump(kEqual, static_cast<std::uint32_t>(call), 0, 4), argument(2),
                           jump(kAny, PROT_EXEC, 1, 0), allow, kill});
  }
#if defined(__SANITIZE_ADDRESS__)  // which asks about stacks where something is thrown
  all.insert(all.end(), {jump(kEqual, __NR_sigaltstack, 0, 1), allow});
#endif
  for (int call : {__NR_brk, __NR_munmap, __NR_mremap, __NR_madvise, __NR_futex, __NR_clock_gettime,
                   __NR_exit, __NR_exit_group, __NR_rt_sigreturn, __NR_restart_syscall}) {
    all.insert(all.end(), {jump(kEqual, static_cast<std::uint32_t>(call), 0, 1), allow});
  }
  all.push_back(kill);
  return all;
}

// Before anything is waited for: the end of the channel does not tell, where others hold it open.
bool die_with(int parent) {
  bool promised = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
  if (getppid() != parent) _exit(0);  // it died before it could be asked for
  return promised;
}

std::uint32_t lock_down(int channel, rlim_t memory) {
  std::uint32_t in_force = 0;
  if (close_others(channel)) in_force |= kDescriptors;
  bool limited = true;
  limit(RLIMIT_AS, address_space() + memory + kSlack, limited);  // while a file may be opened
  limit(RLIMIT_CORE, 0, limited);
  limit(RLIMIT_FSIZE, 0, limited);
  limit(RLIMIT_NPROC, 0, limited);
  limit(RLIMIT_NOFILE, static_cast<rlim_t>(channel) + 1, limited);
  if (limited) in_force |= kResourceLimits;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) in_force |= kNoNewPrivileges;
  return in_force;
}

bool install_filter(int channel) {
  if (kArchitecture == 0) return false;
  std::vector<sock_filter> program = filter(channel);
  sock_fprog given{static_cast<unsigned short>(program.size()), program.data()};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &given) == 0;
}

// ---- serving

// The socket, a frame at a time. Its end is the end of the process.
class Channel {
 public:
  explicit Channel(int fd) : fd_(fd) {}

  std::string_view next() {
    std::string_view frame;
    while (!take(frame)) fill();
    return frame;
  }
  // True if a whole frame is here already.
  bool has_next() const {
    std::string_view bytes = left(), frame;
    bool broken = false;
    return take_frame(bytes, frame, broken);
  }
  void send(std::string& bytes) {
    std::string_view rest = bytes;
    while (!rest.empty()) {
      ssize_t sent = write(fd_, rest.data(), rest.size());
      if (sent <= 0 && errno != EINTR) _exit(0);
      if (sent > 0) rest.remove_prefix(static_cast<std::size_t>(sent));
    }
    bytes.clear();
  }

 private:
  std::string_view left() const { return std::string_view(bytes_).substr(used_); }

  bool take(std::string_view& frame) {
    std::string_view bytes = left();
    bool broken = false;
    if (!take_frame(bytes, frame, broken)) {
      if (broken) _exit(1);
      return false;
    }
    used_ = bytes_.size() - bytes.size();
    return true;
  }

  void fill() {
    bytes_.erase(0, used_);
    used_ = 0;
    std::size_t size = bytes_.size();
    bytes_.resize(size + kRead);
    ssize_t got = read(fd_, bytes_.data() + size, kRead);
    if (got == 0 || (got < 0 && errno != EINTR)) _exit(0);
    bytes_.resize(size + static_cast<std::size_t>(std::max<ssize_t>(0, got)));
  }

  const int fd_;
  std::string bytes_;
  std::size_t used_ = 0;
};

Options read_setup(std::string_view frame) {
  Reader in(frame);
  Options options;
  Limits& limits = options.limits;
  limits.max_source_bytes = in.number<std::uint32_t>();
  limits.max_steps = in.number<std::int64_t>();
  limits.max_memory_bytes = in.number<std::uint64_t>();
  limits.max_int_bits = in.number<std::uint32_t>();
  limits.max_str_bytes = in.number<std::uint32_t>();
  limits.max_items = in.number<std::uint32_t>();
  limits.max_frames = in.number<std::uint32_t>();
  limits.max_nesting = in.number<std::uint32_t>();
  limits.max_output_bytes = in.number<std::uint32_t>();
  options.compat = static_cast<Compat>(in.number<std::uint8_t>());
  options.entry = static_cast<Entry>(in.number<std::uint8_t>());
  options.cut = in.number<std::uint8_t>() != 0;
  options.strip_fences = in.number<std::uint8_t>() != 0;
  if (!in.whole()) _exit(1);
  return options;
}

void write_outcome(std::string& to, const Outcome& outcome) {
  Writer out(to);
  out.number(outcome.value);
  out.number(static_cast<std::uint8_t>(outcome.status));
  out.number(static_cast<std::uint16_t>(outcome.exc));
  out.number(outcome.steps);
  out.number(outcome.nanos);
  out.number(outcome.begin);
  out.number(outcome.end);
  out.text(outcome.why);
  out.text(outcome.type);
  out.text({outcome.text, outcome.text_size});
}

}  // namespace

void serve(int channel, int parent) {
  bool dies_too = die_with(parent);
  Channel peer(channel);
  Options options = read_setup(peer.next());
  std::uint32_t in_force = lock_down(channel, options.limits.max_memory_bytes);
  if (dies_too) in_force |= kParentDeath;
  Runner runner;
  if (install_filter(channel)) in_force |= kSeccomp;
  std::string replies;
  Writer(replies).number(in_force);
  peer.send(replies);
  std::uint64_t unsent = 0;  // nanoseconds of work in `replies`
  while (true) {
    Reader row(peer.next());
    options.want_text = row.number<std::uint8_t>() != 0;
    Outcome outcome = outcome_of(Status::kInternal, "");
    runner.run(row.rest(), options, nullptr, outcome);
    write_outcome(replies, outcome);
    unsent += outcome.nanos;
    if (replies.size() >= kFlushBytes || unsent >= kFlushNanos || !peer.has_next()) {
      peer.send(replies);
      unsent = 0;
    }
  }
}

}  // namespace reft
