//go:build ignore

/* Spans of Go programs, seen from outside. A probe stands at the instruction
 * behind a function's prologue, where all arguments are in registers still, or at
 * a call within it: the kernel emulates both, in a tenth of the time of a
 * single step. Where structures have their fields comes from user space, a slot
 * a process; the probe's cookie is the slot.
 *
 * What a goroutine works for is in goroutines; what it waits for is in calls. */
#include "../bpf/core.h"

char LICENSE[] SEC("license") = "GPL";
#include "goroutine.h"
#include "database.h"
#include "grpc.h"
