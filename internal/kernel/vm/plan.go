//go:build linux

// Package vm runs test binaries as root on kernels other than this machine's: it
// fetches a distribution's kernel, packs an initramfs with a small init (guest),
// boots both under QEMU, emulated where there is no KVM, and reads from the
// console what each binary printed and how it ended.
//
// Nothing of the product imports it (house_test); `make kernels` runs it.
package vm

import (
	"strings"
	"time"
)

// Plan is what the guest's init finds as PlanFile: what the machine shall lack, and
// what to run in it, one after the other.
type Plan struct {
	Modules []string // files of kernel modules, in the order in which they are loaded
	Cgroups Hierarchy
	Hide    []Hidden
	Links   map[string]string // of the file system: new name to target
	Tasks   []Task
}

// PlanFile is where the init looks.
const PlanFile = "/plan.json"

// Hierarchy is how control groups are mounted.
type Hierarchy string

const (
	Unified Hierarchy = ""       // version 2 at /sys/fs/cgroup
	Legacy  Hierarchy = "v1"     // version 1 only
	Hybrid  Hierarchy = "hybrid" // version 1 with the memory controller, and version 2 beside it
)

// Hidden is something that the guest does not mount.
type Hidden string

const (
	NoSys     Hidden = "sys"     // no sysfs, and what is mounted below it
	NoTracefs Hidden = "tracefs" // neither tracefs nor debugfs
	NoBTF     Hidden = "btf"     // an empty folder over /sys/kernel/btf
)

// Task is one binary to run.
type Task struct {
	Name     string
	Dir      string
	Args     []string // the first is the binary
	Env      []string // beside PATH and the like
	Deadline time.Duration
}

// What the guest says on the console beside the output of tasks: lines of mark, a
// verb and words. Everything between begin and exit is the task's.
const (
	mark       = "\x1eguanlan "
	VerbReady  = "ready" // all is mounted; then the kernel's release
	VerbBegin  = "begin" // then the task's name
	VerbExit   = "exit"  // then the task's name and exit code, -1 for a signal
	VerbFail   = "fail"  // the init cannot go on; then why
	VerbFinish = "finish"
)

// Say makes a line of the protocol. It begins with a line break, because the task or
// the kernel may have left one unfinished.
func Say(verb string, words ...string) string {
	return "\n" + mark + strings.Join(append([]string{verb}, words...), " ") + "\n"
}

// hear takes apart a line that Say made.
func hear(line string) (verb, rest string, ok bool) {
	_, said, ok := strings.Cut(line, mark)
	if !ok {
		return "", "", false
	}
	verb, rest, _ = strings.Cut(said, " ")
	return verb, rest, true
}
