//go:build ignore

/* TCP as the kernel sees it. What a connection does is noted in the socket
 * (conns) and folded into a sum by process and peer (sums), which user space
 * reads every interval; only what is out of the ordinary goes up as an event.
 * All hooks but seed_* run with the socket's lock held, so what is noted in the
 * socket needs no atomics; sums are shared and do. */
#include "life.h"
#include "live.h"
#include "poll.h"
#include "seed.h"

char LICENSE[] SEC("license") = "GPL";
