package symbol

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// sparse makes a file of one segment that says to be size bytes long and is a hole,
// but for the header and what is written at 4096 and on.
func sparse(t *testing.T, size int64, change func(h []byte), body []byte) string {
	t.Helper()
	le := binary.LittleEndian
	h := make([]byte, 64+3*56)
	copy(h, "\x7fELF\x02\x01\x01")
	le.PutUint16(h[16:], uint16(elf.ET_EXEC))
	le.PutUint16(h[18:], uint16(elf.EM_X86_64))
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[0x20:], 64) // e_phoff
	le.PutUint16(h[0x36:], 56)
	le.PutUint16(h[0x38:], 2)
	le.PutUint16(h[0x3a:], 64)
	for i, typ := range []elf.ProgType{elf.PT_LOAD, elf.PT_NOTE} {
		p := h[64+56*i:]
		le.PutUint32(p, uint32(typ))
		le.PutUint32(p[4:], uint32(elf.PF_R))
		le.PutUint64(p[8:], 0)             // offset
		le.PutUint64(p[16:], 0x400000)     // address
		le.PutUint64(p[32:], uint64(size)) // in the file
		le.PutUint64(p[40:], uint64(size)) // in memory
	}
	note := h[64+56:]
	le.PutUint64(note[8:], 4096)
	le.PutUint64(note[32:], 32)
	change(h)
	name := filepath.Join(t.TempDir(), "hostile")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err1 := f.WriteAt(h, 0)
	_, err2 := f.WriteAt(body, 4096)
	if err := f.Truncate(size); err != nil || err1 != nil || err2 != nil {
		t.Skip(err, err1, err2) // this file system has no room for holes
	}
	return name
}

// goNote is one that says that a file is Go's.
var goNote = []byte("\x04\x00\x00\x00\x04\x00\x00\x00\x04\x00\x00\x00Go\x00\x00abcd")

// A file that anybody may map costs neither much memory nor much time, whatever it
// says of itself.
func TestHugeFilesCostLittle(t *testing.T) {
	le := binary.LittleEndian
	section := func(typ elf.SectionType, off, size uint64, link uint32) []byte {
		b := make([]byte, 64)
		le.PutUint32(b[4:], uint32(typ))
		le.PutUint64(b[24:], off)
		le.PutUint64(b[32:], size)
		le.PutUint32(b[40:], link)
		return b
	}
	sections := func(n int, str uint16) func(h []byte) {
		return func(h []byte) {
			le.PutUint64(h[0x28:], 4096) // e_shoff
			le.PutUint16(h[0x3c:], uint16(n))
			le.PutUint16(h[0x3e:], str)
		}
	}
	none := section(elf.SHT_NULL, 0, 0, 0)
	for name, file := range map[string]string{
		"names of sections":       sparse(t, 4<<30, sections(2, 1), append(none, section(elf.SHT_STRTAB, 8192, 2<<30, 0)...)),
		"sections without number": sparse(t, 4<<30, sections(0, 0), section(elf.SHT_NULL, 0, 20<<20, 0)),
		"symbols":                 sparse(t, 1<<40, sections(3, 2), append(append(none, section(elf.SHT_SYMTAB, 8192, 1<<39, 2)...), section(elf.SHT_STRTAB, 8192, 16, 0)...)),
		"a table of Go":           sparse(t, 1<<40, func([]byte) {}, goNote),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			table := NewTable()
			defer table.Close()
			if b, err := table.acquire(file); err == nil {
				table.frames(b, 0x400800)
			}
			runtime.ReadMemStats(&after)
			if took, bytes := time.Since(start), after.TotalAlloc-before.TotalAlloc; took > 20*time.Second || bytes > 64<<20 {
				t.Errorf("took %v and %d MB", took, bytes>>20)
			}
		})
	}
}

// A process may put a pipe in the place of a file that it has mapped.
func TestPipesAreNotOpened(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := NewTable().acquire(name); done <- err }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("a pipe was taken for a program")
		}
	case <-time.After(time.Minute):
		t.Error("waits for a writer")
	}
}

// Bazel gives all programs of Go the same build id.
func TestOnlyIdsOfContentAreShared(t *testing.T) {
	own := goroot(t)
	a, b := build(t, own, "self", false, "-ldflags=-buildid=redacted"), build(t, own, "self", false, "-ldflags=-buildid=redacted -X main.x=y -s -w")
	table := NewTable()
	defer table.Close()
	x, err1 := table.acquire(a)
	y, err2 := table.acquire(b)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if x.BuildID != "redacted" || y.BuildID != "redacted" || x == y {
		t.Errorf("ids %q and %q, shared %t", x.BuildID, y.BuildID, x == y)
	}
}
