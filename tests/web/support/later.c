/* A wall clock that jumps 800 days ahead when SIGUSR1 comes, for whoever is started with it (LD_PRELOAD). */
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t later;

static void jump(int number) {
  (void)number;
  later = 1;
}

__attribute__((constructor)) static void begin(void) { signal(SIGUSR1, jump); }

int clock_gettime(clockid_t clock, struct timespec *time) {
  int failed = (int)syscall(SYS_clock_gettime, clock, time);
  if (!failed && later && clock == CLOCK_REALTIME) time->tv_sec += 800L * 86400;
  return failed;
}
