/* What programs have to do without before Linux 5.11. */
#pragma once
#include "core.h"

struct task_struct;

/* Before 5.11 there is no current task that the verifier lets be read as it is:
 * kernel.Load sets this, and all is read by a helper. The verifier takes the other
 * branch out, so that it costs newer kernels nothing. */
volatile const __u8 old_tasks SEC(".rodata.kernel"); /* apart from settings */
#define TASK_READ(way, ...) (old_tasks ? BPF_CORE_READ(__VA_ARGS__) : (way))

static __always_inline struct task_struct *current_task(void)
{
	if (old_tasks)
		return (struct task_struct *)bpf_get_current_task();
	return bpf_get_current_task_btf();
}
