//go:build linux

package kernel

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Classify turns the kernel's refusal of what into *Unsupported. An error that
// may be a mistake of ours, such as a program that the verifier rejects, stays
// as it is: it must not be taken for a property of the machine.
func Classify(what string, err error) error {
	if err == nil {
		return nil
	}
	if u := (*Unsupported)(nil); errors.As(err, &u) {
		return err
	}
	un := func(missing, next string) error {
		return &Unsupported{Feature: what, Missing: missing, Next: next, Err: err}
	}
	if ve := (*ebpf.VerifierError)(nil); errors.As(err, &ve) {
		for _, line := range ve.Log {
			if strings.Contains(line, badRelocation) {
				return err // a field that is not there: more often our mistake than the kernel's age
			}
			// Both are the verifier's words for a helper that is newer than it.
			// Not so number 0xbad2310, which stands for a field that this kernel
			// has not and that the program should have asked for first.
			if strings.Contains(line, "unknown#195896080") {
				return err
			}
			if strings.Contains(line, "unknown func") || strings.Contains(line, "invalid func") {
				return un("a BPF helper ("+strings.TrimSpace(line)+")", "a newer kernel has it")
			}
		}
		if len(ve.Log) > 0 && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	switch {
	case errors.Is(err, ebpf.ErrNotSupported) && !haveBTF():
		return un("type information (BTF)", "use a kernel built with CONFIG_DEBUG_INFO_BTF")
	case errors.Is(err, btf.ErrNotFound):
		return un("a tracepoint or type in this kernel", "a newer kernel may have it")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		if need := lacking(unix.CAP_BPF, unix.CAP_PERFMON); need != "" {
			return un(need, "grant it, or run as root")
		}
		if need := lacking(unix.CAP_NET_ADMIN, unix.CAP_DAC_READ_SEARCH, unix.CAP_SYS_PTRACE); need != "" {
			return un("a permission (this process has not "+need+")", "grant it, or run as root")
		}
		text, _ := os.ReadFile("/sys/kernel/security/lockdown")
		return un(refusedTo(string(text), statusField("Seccomp")))
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, errNotSupp):
		return un("a feature of newer or otherwise configured kernels", "")
	case errors.Is(err, fs.ErrNotExist):
		return un("a file of the kernel", "mount tracefs, sysfs and the cgroup file systems")
	}
	return err
}

// badRelocation is the number of the helper that the loader writes in the place of
// an instruction whose type or field the kernel does not have.
const badRelocation = "unknown#195896080"

// errNotSupp is ENOTSUPP, which the kernel's BPF code returns and no C library names.
const errNotSupp = unix.Errno(524)

func haveBTF() bool {
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	return err == nil
}

var capNames = map[int]string{
	unix.CAP_BPF: "CAP_BPF", unix.CAP_PERFMON: "CAP_PERFMON", unix.CAP_NET_ADMIN: "CAP_NET_ADMIN",
	unix.CAP_DAC_READ_SEARCH: "CAP_DAC_READ_SEARCH", unix.CAP_SYS_PTRACE: "CAP_SYS_PTRACE",
}

// refusedTo says who refuses what all capabilities are there for.
func refusedTo(lockdown, seccomp string) (missing, next string) {
	switch {
	case strings.Contains(lockdown, "[confidentiality]"):
		return "the kernel's leave: lockdown is at confidentiality", "boot with lockdown=integrity or without"
	case seccomp == "2": // filters
		return "the kernel's leave: a seccomp filter holds this process", "let the container's profile allow bpf and perf_event_open"
	}
	return "the kernel's leave", "a security module or the kernel's build refuses it even to root"
}

// statusField is what the kernel says of this process under a name.
func statusField(name string) string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if k, v, _ := strings.Cut(line, ":"); k == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// lacking names those of the capabilities that this process has not.
func lacking(caps ...int) string {
	effective, err := strconv.ParseUint(statusField("CapEff"), 16, 64)
	if err != nil {
		return ""
	}
	if effective&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return "" // stands for CAP_BPF and CAP_PERFMON, also before Linux 5.8
	}
	var names []string
	for _, c := range caps {
		if effective&(1<<c) == 0 {
			names = append(names, capNames[c])
		}
	}
	return strings.Join(names, ", ")
}
