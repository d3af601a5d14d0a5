package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// What a record is: struct record of audit.bpf.c, little-endian, without holes.
const (
	headerSize   = 216
	ancestors    = 4
	ancestorSize = 20
)

// Bits of a record's flags.
const (
	flagWrite = 1 << iota
	flagCreated
	flagNamed
	flagCutPath
	flagCutArgs
	flagUnlinked
	flagCompat
	flagTerminal
	flagEntered
)

// Operations, as the kernel's programs and the tables of system calls name them.
const (
	opOpen = iota + 1
	opCreat
	opOpenat
	opOpenat2
	opOpenHandle
	opConnect
	opSetns
	opUnshare
	opClone
	opMount
	opMoveMount
	opPtrace
	opVMRead
	opVMWrite
	opBPF
	opInitModule
	opFinitModule
	opDeleteModule
	opURing
)

var opNames = [...]string{"", "open", "creat", "openat", "openat2", "open_by_handle_at", "connect", "setns", "unshare", "clone", "mount", "move_mount",
	"ptrace", "process_vm_readv", "process_vm_writev", "bpf", "init_module", "finit_module", "delete_module", "io_uring_setup"}

type namespaceType struct {
	name string
	flag uint64
}

var namespaceTypes = [...]namespaceType{
	{"mnt", 0x00020000}, {"cgroup", 0x02000000}, {"uts", 0x04000000}, {"ipc", 0x08000000},
	{"user", 0x10000000}, {"pid", 0x20000000}, {"net", 0x40000000}, {"time", 0x00000080},
}

var errRecord = errors.New("not a record of this version")

// record is what the kernel says, before user space adds who it was.
type record struct {
	Event
	ktime uint64 // CLOCK_MONOTONIC, ns
	lost  uint64 // by the kernel, since the start
	named bool   // Path is what the caller passed
}

// decode reads one record of the ring.
func decode(b []byte) (record, error) {
	if len(b) < headerSize {
		return record{}, fmt.Errorf("%w: %d bytes", errRecord, len(b))
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	args := [3]uint64{u64(48), u64(56), u64(64)}
	what, flags := u32(72), u32(76)
	kind, op := Kind(what), what>>8
	data := b[headerSize:]
	size := u32(headerSize - 4)
	if kind == 0 || kind >= Lost || what > 0xffff || op >= uint32(len(opNames)) || size > uint32(len(data)) {
		return record{}, fmt.Errorf("%w: kind %d, %d of %d bytes", errRecord, what, size, len(data))
	}
	data = data[:size]
	r := record{
		ktime: u64(0), lost: u64(32), named: flags&flagNamed != 0,
		Event: Event{
			Kind: kind, Call: opNames[op],
			Start: time.Duration(u64(8)), CgroupID: u64(16), MemoryCgroupID: u64(24), Result: int64(u64(40)),
			TID: int(u32(80)), PID: int(u32(84)), Parent: int(u32(88)), UID: u32(92), EUID: u32(96),
			NamespacePID: int(u32(100)), Level: int(u32(104)), PIDNamespace: u32(108), MountNamespace: u32(112),
			Comm:  cstring(b[116:132]),
			Write: flags&flagWrite != 0, Created: flags&flagCreated != 0, Unlinked: flags&flagUnlinked != 0,
			Compat: flags&flagCompat != 0, Terminal: flags&flagTerminal != 0, Entered: flags&flagEntered != 0,
			Truncated: flags&(flagCutPath|flagCutArgs) != 0,
		},
	}
	for i := range ancestors {
		at := 132 + i*ancestorSize
		pid := int(u32(at))
		if pid == 0 {
			break
		}
		r.Ancestors = append(r.Ancestors, Ancestor{pid, cstring(b[at+4 : at+ancestorSize])})
	}
	r.explain(op, args, data)
	return r, nil
}

// explain reads what differs by kind.
func (r *record) explain(op uint32, args [3]uint64, data []byte) {
	text := func() string {
		s, rest, _ := bytes.Cut(data, []byte{0})
		data = rest
		return validText(s)
	}
	switch r.Kind {
	case Exec:
		r.Exe, r.Path = text(), text()
		if len(data) > 0 {
			r.Args = strings.Split(strings.TrimSuffix(validText(data), "\x00"), "\x00")
		}
	case Fork:
		r.TargetPID, r.Namespaces = int(r.Result), namespaceNames(args[0])
	case Open:
		r.Flags, r.Path = args[0], text()
	case Connect:
		r.Path = text()
	case Namespace:
		r.Flags, r.Namespaces = args[0], namespaceNames(args[0])
		if op == opClone {
			r.TargetPID = int(r.Result)
		}
	case Mount:
		r.Flags, r.Source, r.Path, r.FSType = args[0], text(), text(), text()
	case Ptrace:
		r.TargetPID, r.Detail = int(int32(args[1])), ptraceName(op, args[0])
	case BPF:
		r.Flags, r.Detail = args[0], text()
	case Module:
		r.Path, r.Detail = text(), text()
	}
	if r.Kind != Exec {
		r.Exe = text() // of system calls
	}
	if r.named && strings.HasPrefix(r.Path, "/") {
		r.Path = path.Clean(r.Path)
	}
}

func ptraceName(op uint32, request uint64) string {
	switch {
	case op == opVMRead:
		return "read"
	case op == opVMWrite:
		return "write"
	case request == 16:
		return "attach"
	case request == 0x4206:
		return "seize"
	}
	return ""
}

func namespaceNames(flags uint64) []string {
	var out []string
	for _, t := range namespaceTypes {
		if flags&t.flag != 0 {
			out = append(out, t.name)
		}
	}
	return out
}

func cstring(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return validText(s)
}

// validText: names are what bytes a process likes, and text that is no UTF-8 would be
// refused further on, with all that it travels with.
func validText(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }
