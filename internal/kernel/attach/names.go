//go:build linux && (amd64 || arm64)

package attach

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/guanlan-io/guanlan/internal/kernel/symbol"
)

// maxTypeNames bounds what is kept of one process: programs have some dozens of types of errors.
const maxTypeNames = 512

// unknownType is OpenTelemetry's word for an error without a class.
const unknownType = "_OTHER"

// typeNames names types of a process's interface values, by the address of their
// interface tables. A table's first function is a method of the type, and
// functions have names also in stripped programs. Not safe for concurrent use.
type typeNames struct {
	mem     *os.File
	process *symbol.Process
	known   map[uint64]string
}

func newTypeNames(t *symbol.Table, proc string, pid int) *typeNames {
	n := &typeNames{known: map[uint64]string{}}
	n.mem, _ = os.Open(filepath.Join(proc, strconv.Itoa(pid), "mem")) // without it types have no names
	n.process, _ = t.Process(proc, pid)
	return n
}

func (n *typeNames) close() {
	if n.mem != nil {
		_ = n.mem.Close()
	}
	if n.process != nil {
		n.process.Close()
	}
}

// Where things are in an interface table and in a type, in all versions of Go since 1.18.
const (
	itabType  = 8
	itabFirst = 24 // function
	typeKind  = 23 // one byte, of which five bits count

	kindPointer = 22
)

// name is as fmt's %T says it, but with the whole path of the package: "*net.OpError".
func (n *typeNames) name(itab uint64) string {
	if itab == 0 {
		return ""
	}
	if s, ok := n.known[itab]; ok {
		return s
	}
	s := unknownType
	if n.mem != nil && n.process != nil {
		if fr := n.process.Frames(n.word(itab + itabFirst)); len(fr) > 0 {
			s = receiver(fr[len(fr)-1].Function)
		}
		// Tables of types that are no pointers hold wrappers with a pointer.
		if n.word(n.word(itab+itabType)+typeKind)&31 != kindPointer {
			s = strings.TrimPrefix(s, "*")
		}
	}
	if len(n.known) >= maxTypeNames {
		clear(n.known)
	}
	n.known[itab] = s
	return s
}

func (n *typeNames) word(at uint64) uint64 {
	var b [8]byte
	if _, err := n.mem.ReadAt(b[:], int64(at)); err != nil {
		return 0
	}
	return binary.NativeEndian.Uint64(b[:])
}

// receiver is the type in the name of a method: "net.(*OpError).Error".
func receiver(function string) string {
	dot := strings.LastIndexByte(function, '.')
	if dot < 0 {
		return unknownType
	}
	typ := function[:dot]
	if i := strings.LastIndex(typ, ".("); i >= 0 && strings.HasSuffix(typ, ")") {
		name := strings.TrimSuffix(typ[i+2:], ")")
		pkg := typ[:i]
		if ptr, ok := strings.CutPrefix(name, "*"); ok {
			return "*" + pkg + "." + ptr
		}
		return pkg + "." + name
	}
	if !strings.Contains(typ[strings.LastIndexByte(typ, '/')+1:], ".") {
		return unknownType // a function without a receiver
	}
	return typ
}
