//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
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
			if strings.Contains(line, "bpf_probe_write_user") {
				lockdown, _ := os.ReadFile("/sys/kernel/security/lockdown")
				uids, _ := os.ReadFile("/proc/self/uid_map")
				return un(refusedToWrite(lacking(unix.CAP_SYS_ADMIN), string(uids), string(lockdown)))
			}
			if strings.Contains(line, "BPF_STX uses reserved fields") {
				return un("atomic operations of BPF", "Linux 5.12 has them")
			}
			if strings.Contains(line, "unknown func bpf_probe_read") {
				if text, _ := os.ReadFile("/sys/kernel/security/lockdown"); strings.Contains(string(text), "[confidentiality]") {
					return un(refusedTo(string(text), ""))
				}
			}
			if strings.Contains(line, "unknown func") || strings.Contains(line, "invalid func") {
				return un("a BPF helper ("+strings.TrimSpace(line)+")", newerKernel(line))
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

// ParanoidEvents knows, of errors of opening a perf event, the refusal of a level that only
// distributions have: above 2, Debian's kernels before 6.12 open none to whom CAP_PERFMON is
// all, neither a clock nor a probe. Other errors stay as they are.
func ParanoidEvents(what string, err error) error {
	if !errors.Is(err, unix.EACCES) || lacking(unix.CAP_SYS_ADMIN) == "" {
		return err
	}
	text, _ := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if level, _ := strconv.Atoi(strings.TrimSpace(string(text))); level <= 2 {
		return err
	}
	return &Unsupported{Feature: what, Missing: "CAP_SYS_ADMIN, for perf_event_paranoid is above 2",
		Next: "set sysctl kernel.perf_event_paranoid=2, or grant it", Err: err}
}

// badRelocation is the number of the helper that the loader writes in the place of
// an instruction whose type or field the kernel does not have.
const badRelocation = "unknown#195896080"

// helperSince says from which Linux on a helper may be called by the programs of
// this tree that call it.
var helperSince = map[asm.BuiltinFunc]string{
	asm.FnSkStorageGet: "5.11", asm.FnGetCurrentTaskBtf: "5.11", asm.FnSockFromFile: "5.11", asm.FnTaskStorageGet: "5.11",
	asm.FnGetAttachCookie: "5.15", asm.FnTaskPtRegs: "5.15", asm.FnSkcToTcpSock: "5.9", asm.FnSetsockopt: "6.12",
}

// newerKernel says which kernel has what the verifier does not know: "… func name#number".
func newerKernel(line string) string {
	_, number, _ := strings.Cut(strings.TrimSpace(line), "#")
	if n, err := strconv.Atoi(number); err == nil && helperSince[asm.BuiltinFunc(n)] != "" {
		return "Linux " + helperSince[asm.BuiltinFunc(n)] + " has it"
	}
	return "a newer kernel has it"
}

// errNotSupp is ENOTSUPP, which the kernel's BPF code returns and no C library names.
const errNotSupp = unix.Errno(524)

func haveBTF() bool {
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	return err == nil
}

var capNames = map[int]string{
	unix.CAP_BPF: "CAP_BPF", unix.CAP_PERFMON: "CAP_PERFMON", unix.CAP_NET_ADMIN: "CAP_NET_ADMIN",
	unix.CAP_SYS_ADMIN: "CAP_SYS_ADMIN", unix.CAP_DAC_READ_SEARCH: "CAP_DAC_READ_SEARCH", unix.CAP_SYS_PTRACE: "CAP_SYS_PTRACE",
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

// refusedToWrite says who keeps programs from writing to the memory of processes. All
// kernels of today have the helper; for whom they hide it the verifier calls it unknown.
func refusedToWrite(capability, uidMap, lockdown string) (missing, next string) {
	const leave = "the kernel's leave to write to the memory of programs"
	const boot = "boot without lockdown= and, where secure boot turns it on, without secure boot"
	switch {
	case capability != "":
		return capability + ", to write to the memory of programs", "grant it, or run as root"
	case uidMap != "" && !slices.Equal(strings.Fields(uidMap), []string{"0", "0", "4294967295"}):
		return "CAP_SYS_ADMIN of the host: this process has that of a user namespace", "run it in the host's user namespace"
	case strings.Contains(lockdown, "[integrity]"), strings.Contains(lockdown, "[confidentiality]"):
		return leave + ": it is in lockdown", boot
	case lockdown == "":
		return leave + ": it is in lockdown, or a security module refuses", boot + "; /sys/kernel/security/lockdown says more where securityfs is mounted"
	}
	return leave + ": a security module refuses, for it is not in lockdown", "let the module allow bpf_probe_write_user"
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
	effective, err := Capabilities()
	if err != nil || effective.Has(unix.CAP_SYS_ADMIN) {
		return "" // stands for all that BPF asks for, also before Linux 5.8
	}
	var names []string
	for _, c := range caps {
		if !effective.Has(c) {
			names = append(names, capNames[c])
		}
	}
	return strings.Join(names, ", ")
}

// CapabilitySet is a set of capabilities, unix.CAP_….
type CapabilitySet uint64

// Has reports whether c is one of them.
func (s CapabilitySet) Has(c int) bool { return s&(1<<c) != 0 }

// Capabilities are those that this process may use now.
func Capabilities() (CapabilitySet, error) {
	set, err := strconv.ParseUint(statusField("CapEff"), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	return CapabilitySet(set), nil
}
