//go:build ignore

/* What processes do that an auditor wants to know: programs started, files of
 * interest opened, namespaces changed, the kernel altered.
 *
 * System calls are seen at their return: the result is known, what the caller
 * passed has been read by the kernel and is in memory, and an opened file is
 * judged by where it lies and not by the name that the caller gave, which
 * links, relative paths and a second thread could change. */
#include "process.h"
#include "syscall.h"

char LICENSE[] SEC("license") = "GPL";
