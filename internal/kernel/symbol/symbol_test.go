package symbol

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/testkit/gobuild"
)

func build(t *testing.T, root, src string, cgo bool, flags ...string) string {
	t.Helper()
	var env []string
	if cgo {
		env = []string{"CGO_ENABLED=1"}
	}
	return gobuild.Build(t, root, src, env, flags...)
}

// The names, files and lines that we read from outside are those that the
// program's own runtime knows, for every address of many functions, and for
// the frames of a real stack.
func TestAgreesWithTheRuntime(t *testing.T) {
	type variant struct {
		name  string
		cgo   bool
		strip bool // remove the headers of sections, too
		flags []string
	}
	variants := []variant{
		{name: "plain"},
		{name: "stripped", flags: []string{"-ldflags=-s -w"}},
		{name: "pie", flags: []string{"-buildmode=pie", "-trimpath"}},
		{name: "pie stripped", flags: []string{"-buildmode=pie", "-ldflags=-s -w"}},
		{name: "no sections", strip: true},
		{name: "pie no sections", flags: []string{"-buildmode=pie"}, strip: true},
	}
	if _, err := exec.LookPath("gcc"); err == nil {
		variants = append(variants, variant{name: "external pie stripped", cgo: true, flags: []string{"-buildmode=pie", "-ldflags=-s -w -linkmode=external"}})
	}
	own := goroot(t)
	for version, root := range gobuild.Minors(t) {
		if root != own && testing.Short() {
			continue // each builds its standard library first
		}
		for _, v := range variants {
			if root != own && !strings.HasSuffix(v.name, "stripped") {
				continue
			}
			t.Run(version+" "+v.name, func(t *testing.T) {
				bin := build(t, root, "self", v.cgo, v.flags...)
				if v.strip {
					removeSections(t, bin)
				}
				agree(t, bin)
			})
		}
	}
}

// removeSections zeroes the header's reference to the sections, as strip
// --strip-section-headers and some packers do.
func removeSections(t *testing.T, bin string) {
	t.Helper()
	f, err := os.OpenFile(bin, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err1 := f.WriteAt(make([]byte, 8), 0x28) // e_shoff
	_, err2 := f.WriteAt(make([]byte, 4), 0x3c) // e_shnum, e_shstrndx
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
}

func agree(t *testing.T, bin string) {
	t.Helper()
	cmd := exec.Command(bin)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		_ = cmd.Process.Kill() // it may be waiting for us to read
		_ = cmd.Wait()
	}()
	table := NewTable()
	defer table.Close()
	p, err := table.Process("/proc", cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	shapes := regexp.MustCompile(`\[go\.shape.*\]`) // printed before Go 1.21
	show := func(f Frame) string { return fmt.Sprintf("%s %s:%d", f.Function, f.File, f.Line) }
	s := bufio.NewScanner(stdout)
	checked, inlined, wrong := 0, 0, 0
	var stack []string // logical frames, the innermost first
	var first uint64
	for s.Scan() {
		kind, rest, _ := strings.Cut(shapes.ReplaceAllString(s.Text(), "[...]"), " ")
		if kind == "end" {
			break
		}
		pcText, want, _ := strings.Cut(rest, " ")
		pc, err := strconv.ParseUint(pcText, 16, 64)
		if err != nil {
			t.Fatalf("line %q: %v", s.Text(), err)
		}
		switch kind {
		case "pc":
			fr := p.Frames(pc)
			if len(fr) == 0 {
				t.Fatalf("%x: nothing known, want %s", pc, want)
			}
			checked++
			if fr[0].Inlined {
				inlined++
			}
			if got := show(fr[0]); got != want {
				if wrong++; wrong < 10 {
					t.Errorf("%x: got %s, want %s", pc, got, want)
				}
			}
		case "stack":
			if len(stack) == 0 {
				first = pc
			}
			stack = append(stack, want)
		}
	}
	if checked < 2000 || inlined < 50 || wrong > 0 {
		t.Errorf("%d addresses checked, %d of them in inlined calls, %d wrong", checked, inlined, wrong)
	}
	var got []string
	for _, f := range p.Frames(first) {
		got = append(got, show(f))
	}
	if diff := cmp.Diff(stack, got); diff != "" || len(got) != 3 {
		t.Errorf("inlined frames (-want +got):\n%s", diff)
	}
}

func TestFunctions(t *testing.T) {
	bin := build(t, goroot(t), "self", false, "-ldflags=-s -w")
	var at uint64
	err := Functions(bin, func(name string, addr uint64) bool {
		if name == "main.outer" {
			at = addr
		}
		return at == 0
	})
	if err != nil || at == 0 {
		t.Errorf("main.outer at %x, %v", at, err)
	}
	image, err := readVDSO() // a program in C that is everywhere
	other := filepath.Join(t.TempDir(), "vdso")
	if err := errors.Join(err, os.WriteFile(other, image, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := Functions(other, func(string, uint64) bool { return true }); err == nil {
		t.Error("the kernel's own library has Go functions")
	}
}

func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// A process that has ended, whose file is gone, is still named.
func TestAfterTheEnd(t *testing.T) {
	bin := build(t, goroot(t), "self", false, "-ldflags=-s -w")
	var at uint64
	if err := Functions(bin, func(name string, addr uint64) bool { at = addr; return name != "main.outer" }); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	table := NewTable()
	defer table.Close()
	p, err := table.Process("/proc", cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	stdin.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err := os.Remove(bin); err != nil {
		t.Fatal(err)
	}
	if err := p.Refresh(); err == nil {
		t.Error("refreshed the mappings of a process that ended")
	}
	if fr := p.Frames(at); len(fr) != 1 || fr[0].Function != "main.outer" {
		t.Errorf("frames %+v", fr)
	}
}

func TestVDSO(t *testing.T) {
	table := NewTable()
	defer table.Close()
	p, err := table.Process("/proc", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, m := range p.maps {
		if m.Path != "[vdso]" {
			continue
		}
		if m.bin == nil {
			t.Fatal("vdso was not read")
		}
		named := 0
		for a := m.Start; a < m.Limit; a += 16 {
			for _, f := range p.Frames(a) {
				if strings.Contains(f.Function, "gettime") {
					named++
				}
			}
		}
		if named == 0 {
			t.Error("no function of the vdso is named")
		}
		return
	}
	t.Skip("no vdso")
}

func TestKernelNames(t *testing.T) {
	k, err := readKernel(strings.NewReader("ffff0000 T start\nffff0040 t second\nffff0040 t alias\nffff0080 D data\nffff0100 t third\t[mod]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[uint64]string{0xfffe0000: "", 0xffff0000: "start", 0xffff003f: "start", 0xffff0080: "second", 0xffff0200: "third [mod]"} {
		if got := k.Name(addr); got != want {
			t.Errorf("Name(%x) = %q, want %q", addr, got, want)
		}
	}
	if _, err := readKernel(strings.NewReader("0000000000000000 T start\n")); err != ErrHidden {
		t.Errorf("hidden addresses: %v", err)
	}
}

func TestParseMaps(t *testing.T) {
	got, err := parseMaps(strings.NewReader(`00400000-00410000 r--p 00000000 fe:00 12 /bin/a b
00410000-00420000 r-xp 00010000 fe:00 12                  /bin/a b
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7ffd1000-7ffd2000 r-xp 00000000 00:00 0                   [vdso]
`))
	want := []*Mapping{
		{Start: 0x410000, Limit: 0x420000, Offset: 0x10000, Path: "/bin/a b"},
		{Start: 0x7ffd1000, Limit: 0x7ffd2000, Path: "[vdso]"},
		{Start: 0x7f0000000000, Limit: 0x7f0000001000},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Mapping{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := parseMaps(strings.NewReader("x r-xp 0 0 0\n")); err == nil {
		t.Error("accepted a broken line")
	}
}
