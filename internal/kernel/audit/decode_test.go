package audit

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// raw builds a record as the kernel's programs do.
func raw(kind Kind, op, flags uint32, ret int64, args [3]uint64, data string) []byte {
	b := make([]byte, headerSize, headerSize+len(data))
	for i, v := range []uint64{1000, 2000, 3000, 4000, 5, uint64(ret), args[0], args[1], args[2]} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	for i, v := range []uint32{uint32(kind) | op<<8, flags, 11, 12, 13, 14, 15, 16, 2, 18, 19} {
		binary.LittleEndian.PutUint32(b[72+4*i:], v)
	}
	copy(b[116:], "comm")
	binary.LittleEndian.PutUint32(b[132:], 13)
	copy(b[136:], "parent")
	binary.LittleEndian.PutUint32(b[headerSize-4:], uint32(len(data)))
	return append(b, data...)
}

func TestDecode(t *testing.T) {
	base := func(k Kind, call string) Event {
		return Event{
			Kind: k, Call: call, Start: 2000, CgroupID: 3000, MemoryCgroupID: 4000, TID: 11, PID: 12, Parent: 13, UID: 14, EUID: 15,
			NamespacePID: 16, Level: 2, PIDNamespace: 18, MountNamespace: 19, Comm: "comm", Ancestors: []Ancestor{{13, "parent"}},
		}
	}
	for _, tt := range []struct {
		raw  []byte
		call string
		kind Kind
		want func(*Event)
	}{
		{raw(Exec, 0, flagTerminal|flagEntered, 0, [3]uint64{}, "/bin/dash\x00/bin/sh\x00sh\x00-c\x00\x00"), "", Exec, func(e *Event) {
			e.Exe, e.Path, e.Args, e.Terminal, e.Entered = "/bin/dash", "/bin/sh", []string{"sh", "-c", ""}, true, true
		}},
		{raw(Exec, 0, flagCutArgs|flagUnlinked, 0, [3]uint64{}, "/memfd:x\x00/proc/self/fd/3\x00long ar"), "", Exec, func(e *Event) {
			e.Exe, e.Path, e.Args, e.Truncated, e.Unlinked = "/memfd:x", "/proc/self/fd/3", []string{"long ar"}, true, true
		}},
		{raw(Exit, 0, 0, 256, [3]uint64{}, ""), "", Exit, func(e *Event) { e.Result = 256 }},
		{raw(Fork, 0, 0, 99, [3]uint64{0x20000000}, ""), "", Fork, func(e *Event) { e.Result, e.TargetPID, e.Namespaces = 99, 99, []string{"pid"} }},
		{raw(Open, opOpenat, flagWrite|flagCreated, 3, [3]uint64{0x8001}, "/etc/x\x00"), "openat", Open, func(e *Event) {
			e.Result, e.Flags, e.Path, e.Write, e.Created = 3, 0x8001, "/etc/x", true, true
		}},
		{raw(Open, opOpen, flagNamed|flagCompat, -13, [3]uint64{}, "/tmp/..//etc/x\x00"), "open", Open, func(e *Event) {
			e.Result, e.Path, e.Compat = -13, "/etc/x", true
		}},
		{raw(Connect, opConnect, 0, 0, [3]uint64{}, "/run/docker.sock\x00"), "connect", Connect, func(e *Event) { e.Path = "/run/docker.sock" }},
		{raw(Namespace, opSetns, 0, 0, [3]uint64{0x40020000}, ""), "setns", Namespace, func(e *Event) {
			e.Flags, e.Namespaces = 0x40020000, []string{"mnt", "net"}
		}},
		{raw(Namespace, opClone, 0, 77, [3]uint64{0x10000000}, ""), "clone", Namespace, func(e *Event) {
			e.Flags, e.Namespaces, e.TargetPID, e.Result = 0x10000000, []string{"user"}, 77, 77
		}},
		{raw(Mount, opMount, 0, -1, [3]uint64{4096}, "/dev/sda\x00/mnt\x00ext4\x00"), "mount", Mount, func(e *Event) {
			e.Result, e.Flags, e.Source, e.Path, e.FSType = -1, 4096, "/dev/sda", "/mnt", "ext4"
		}},
		{raw(Ptrace, opPtrace, 0, 0, [3]uint64{0x4206, 31}, ""), "ptrace", Ptrace, func(e *Event) { e.TargetPID, e.Detail = 31, "seize" }},
		{raw(Ptrace, opVMWrite, 0, 8, [3]uint64{0, 31}, ""), "process_vm_writev", Ptrace, func(e *Event) { e.TargetPID, e.Detail, e.Result = 31, "write", 8 }},
		{raw(BPF, opBPF, 0, 5, [3]uint64{5, 26}, "prog\x00"), "bpf", BPF, func(e *Event) { e.Flags, e.Detail, e.Result = 5, "prog", 5 }},
		{raw(Module, opFinitModule, 0, 0, [3]uint64{}, "/lib/x.ko\x00a=b\x00"), "finit_module", Module, func(e *Event) { e.Path, e.Detail = "/lib/x.ko", "a=b" }},
		{raw(URing, opURing, 0, 4, [3]uint64{}, ""), "io_uring_setup", URing, func(e *Event) { e.Result = 4 }},
	} {
		want := base(tt.kind, tt.call)
		tt.want(&want)
		got, err := decode(tt.raw)
		if err != nil {
			t.Errorf("%s %s: %v", tt.kind, tt.call, err)
			continue
		}
		if got.ktime != 1000 || got.lost != 5 {
			t.Errorf("%s: time %d, lost %d", tt.kind, got.ktime, got.lost)
		}
		if d := cmp.Diff(want, got.Event); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.kind, tt.call, d)
		}
	}
	for _, bad := range [][]byte{
		nil, make([]byte, headerSize), raw(Open, 0, 0, 0, [3]uint64{}, "x")[:headerSize],
		raw(Lost, 0, 0, 0, [3]uint64{}, ""), raw(Open, 200, 0, 0, [3]uint64{}, ""),
	} {
		if _, err := decode(bad); !errors.Is(err, errRecord) {
			t.Errorf("decode of %d bytes: %v", len(bad), err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(raw(Exec, 0, 0, 0, [3]uint64{}, "/bin/dash\x00/bin/sh\x00sh\x00-c\x00"))
	f.Add(raw(Mount, opMount, 0, -1, [3]uint64{4096}, "/dev/sda\x00/mnt"))
	rules := DefaultRules()
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Errorf("decode: %v", err)
			}
			return
		}
		rules.Findings(&r.Event)
		rules.tree.of(r.Path, r.Write)
	})
}

// Every operation that a table names is of the kind that the kernel's programs take it for.
func TestSyscallTables(t *testing.T) {
	only := func(k Kind) func(Kind) bool { return func(x Kind) bool { return x == k } }
	for op := uint8(1); op <= opURing; op++ {
		k := opKind(op)
		table, any := syscallTable([]call{{7, op}}, []call{{9, op}}, only(k))
		if !any || table[7] != uint16(op) || table[9] != uint16(op)<<8 {
			t.Errorf("%s: table %v, %v", opNames[op], table[7], table[9])
		}
		if _, any := syscallTable([]call{{7, op}}, nil, only(k+1)); any {
			t.Errorf("%s is taken for %s", opNames[op], k+1)
		}
	}
	var all []string
	for op := uint8(1); op <= opURing; op++ {
		all = append(all, opNames[op]+" "+opKind(op).String())
	}
	want := []string{
		"open open", "creat open", "openat open", "openat2 open", "open_by_handle_at open", "connect connect", "setns namespace",
		"unshare namespace", "clone namespace", "mount mount", "move_mount mount", "ptrace ptrace", "process_vm_readv ptrace",
		"process_vm_writev ptrace", "bpf bpf", "init_module module", "finit_module module", "delete_module module", "io_uring_setup io_uring",
	}
	if !slices.Equal(all, want) {
		t.Errorf("got %q", all)
	}
}
