package audit

import (
	"slices"
	"strings"
	"time"
)

// Kind is what a process did.
type Kind uint8

const (
	Exec      Kind = iota + 1 // started a program
	Exit                      // ended
	Fork                      // made a process
	Open                      // opened a file of interest, or was refused to
	Connect                   // connected to a Unix socket of interest, or was refused to
	Namespace                 // entered or made a namespace
	Mount                     // mounted
	Ptrace                    // attached to, read or wrote the memory of another process
	BPF                       // loaded or attached a BPF program
	Module                    // loaded or removed a kernel module
	URing                     // set up io_uring, whose requests system calls do not show
	Lost                      // records were lost here; Event.Lost says how many
)

var kindNames = [...]string{"", "exec", "exit", "fork", "open", "connect", "namespace", "mount", "ptrace", "bpf", "module", "io_uring", "lost"}

func (k Kind) String() string {
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return "unknown"
}

// KindNamed is the inverse of String, 0 for no kind that a rule may name.
func KindNamed(name string) Kind {
	if i := slices.Index(kindNames[:], name); i > 0 && Kind(i) < Lost {
		return Kind(i)
	}
	return 0
}

// Scope is where a kind of act is told of.
type Scope uint8

const (
	Default    Scope = iota // what defaultScopes says
	Never                   // nowhere
	Containers              // in containers and what Options.Watch adds
	Everywhere
)

// Event is one act of one process. Seq counts the events of a feature in the
// order of the kernel's ring, lost ones included: a gap is a loss.
type Event struct {
	Seq  uint64
	Time time.Time
	Kind Kind
	Call string // the system call or "clone"; "" for exec, exit and fork

	PID, TID, Parent int
	Start            time.Duration // since boot; with PID it names the process for good
	UID, EUID        uint32        // in the first user namespace
	Comm, Exe        string
	Args             []string // of the process
	Ancestors        []Ancestor

	NamespacePID   int    // the process's id as it sees itself
	Level          int    // depth of its pid namespace, 0 is the host's
	PIDNamespace   uint32 // inode numbers
	MountNamespace uint32
	CgroupID       uint64 // cgroup v2
	MemoryCgroupID uint64 // in the hierarchy of the memory controller, the same with v2 alone
	Cgroup         string // path, of the hierarchy that tells containers apart
	Container, Pod string
	Image          string
	ContainerName  string
	Service        string
	Result         int64 // of the call, negative: -errno; of an exit: the wait status; of a fork: the child
	Path           string
	Write, Created bool
	Unlinked       bool   // a program that has no name in any folder (memfd, deleted)
	Terminal       bool   // the process has one
	Entered        bool   // the process came into its container from outside, as by "docker exec"
	Compat         bool   // a 32-bit system call
	Truncated      bool   // path or arguments are longer than what is kept
	Source, FSType string // of a mount; Path is where
	Namespaces     []string
	TargetPID      int    // of ptrace, as the caller numbers processes; of fork, the child
	Detail         string // module parameters, name of a BPF program, name of a ptrace request
	Flags          uint64 // of open, mount, namespaces: as passed; of bpf: the command
	Lost           uint64

	// Findings are the rules that the event meets. Most events meet none.
	Findings []Finding
}

// Ancestor is a parent, or a parent's parent, as of the event.
type Ancestor struct {
	PID  int
	Comm string
}

// Finding is a rule that an event meets.
type Finding struct {
	Rule, Title string
	Severity    Severity
	Technique   string // MITRE ATT&CK id
}

// Denied reports whether the kernel refused the call.
func (e *Event) Denied() bool {
	return e.Kind != Exit && (e.Result == -1 || e.Result == -13 || e.Result == -30)
}

// InContainer reports whether the process ran in a container: in a cgroup that
// a container runtime made or in a pid namespace of its own.
func (e *Event) InContainer() bool { return e.Container != "" || e.Pod != "" || e.Level > 0 }

// CommandLine is the arguments in one line, for people.
func (e *Event) CommandLine() string {
	if len(e.Args) == 0 {
		return e.Exe
	}
	return strings.Join(e.Args, " ")
}

// Severity orders findings.
type Severity uint8

const (
	Info Severity = iota + 1
	Notice
	Warning
	Critical
)

var severityNames = [...]string{"", "info", "notice", "warning", "critical"}

func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return "unknown"
}
