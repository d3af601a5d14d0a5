package layout

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/testkit/gobuild"
)

// build builds a program of testdata for an architecture.
func build(t *testing.T, root, src, arch string, flags ...string) string {
	t.Helper()
	env := []string{"GOARCH=" + arch}
	if src == "threads" {
		env = append(env, "CGO_ENABLED=1")
	}
	return gobuild.Build(t, root, src, env, flags...)
}

func open(t *testing.T, path string) *Binary {
	t.Helper()
	b, err := Of(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func ownRoot(t *testing.T) (version, root string) {
	t.Helper()
	out, err := exec.Command("go", "env", "GOVERSION", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	version, root, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	return version, root
}

// What the streaming reader finds is what debug/dwarf finds, for all structs of
// the standard library that the program has.
func TestFieldsAreThoseOfDWARF(t *testing.T) {
	version, root := ownRoot(t)
	for _, flags := range [][]string{nil, {"-ldflags=-compressdwarf=false"}, {"-buildmode=pie"}} {
		bin := build(t, root, "service", "amd64", flags...)
		b := open(t, bin)
		if b.GoVersion != version || b.PIE != slices.Contains(flags, "-buildmode=pie") || b.Arch != "amd64" {
			t.Errorf("%v: %s, PIE %v, %s", flags, b.GoVersion, b.PIE, b.Arch)
		}
		want := allStructs(t, bin)
		if len(want) < 200 {
			t.Fatalf("only %d structs", len(want))
		}
		got, err := dwarfStructs(b.elf, func(name []byte) bool { return want[string(name)] != nil }, len(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-debug/dwarf +ours):\n%s", flags, diff)
		}
		if off, ok := b.Field("net/http.Request", "URL"); !ok || off != want["net/http.Request"]["URL"] {
			t.Errorf("URL at %d, %v", off, ok)
		}
		if off, src, err := b.Offset("net/http.Request", "Nothing"); err == nil {
			t.Errorf("Nothing at %d by %v", off, src)
		}
	}
}

func allStructs(t *testing.T, bin string) map[string]structType {
	t.Helper()
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]structType{}
	var in structType
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return all
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		switch {
		case e.Tag == dwarf.TagStructType:
			in = structType{}
			if e.Children {
				all[name] = in
			}
		case e.Tag == dwarf.TagMember:
			in[name] = uint64(e.Val(dwarf.AttrDataMemberLoc).(int64))
		}
	}
}

var disassembled = regexp.MustCompile(`^\s+\S+\s+0x([0-9a-f]+)\s+[0-9a-f]+\s+(.*?)\s*$`)

// Returns are where the toolchain's own disassembler shows one; the body is at a
// place that the kernel emulates, with nothing but the stack's check before it.
func TestFuncs(t *testing.T) {
	names := []string{"net/http.serverHandler.ServeHTTP", "net/http.(*response).finishRequest", "net/http.(*Transport).roundTrip",
		"database/sql.(*DB).queryDC", "runtime.newproc1", "runtime.goexit1", "net/http.(*persistConn).readLoop"}
	for version, root := range gobuild.Releases(t) {
		for _, arch := range []string{"amd64", "arm64"} {
			t.Run(version+" "+arch, func(t *testing.T) {
				bin := build(t, root, "service", arch)
				b := open(t, bin)
				for _, name := range names {
					f, ok := b.Func(name)
					if !ok {
						t.Errorf("no %s", name)
						continue
					}
					checkFunc(t, b, root, bin, f)
				}
				if f, ok := b.Func("net/http.Nothing"); ok || b.Has("net/http.Nothing") {
					t.Errorf("%v", f)
				}
			})
		}
	}
}

func checkFunc(t *testing.T, b *Binary, root, bin string, f Func) {
	t.Helper()
	cmd := exec.Command(filepath.Join(root, "bin", "go"), "tool", "objdump", "-s", "^"+regexp.QuoteMeta(f.Name)+"$", bin)
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOROOT="+root)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("objdump: %v", err)
	}
	var returns []uint64
	var body string
	entry := true
	for _, line := range strings.Split(string(out), "\n") {
		m := disassembled.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		addr, err := strconv.ParseUint(m[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		off, _ := fileOffset(b.elf, addr)
		if entry && off != f.Entry {
			t.Errorf("%s: entry %x, want %x", f.Name, f.Entry, off)
		}
		entry = false
		if off == f.Body {
			body = m[2]
		}
		if m[2] == "RET" {
			returns = append(returns, off)
		}
	}
	if diff := cmp.Diff(returns, f.Returns); diff != "" {
		t.Errorf("%s: returns (-objdump +ours):\n%s", f.Name, diff)
	}
	switch before := b.goVersion.before(version{1, 21, 0}); {
	case b.Arch == "arm64":
		if !strings.HasPrefix(body, "BLS ") || !f.Repeats {
			t.Errorf("%s: body %x is %q, repeats %v", f.Name, f.Body, body, f.Repeats)
		}
	case before:
		if !strings.HasPrefix(body, "JBE ") || !f.Repeats {
			t.Errorf("%s: body %x is %q, repeats %v", f.Name, f.Body, body, f.Repeats)
		}
	default:
		if body != "PUSHQ BP" || f.Repeats {
			t.Errorf("%s: body %x is %q, repeats %v", f.Name, f.Body, body, f.Repeats)
		}
	}
}

func TestNotGo(t *testing.T) {
	if _, err := exec.LookPath("/bin/true"); err == nil {
		if _, err := Of("/bin/true"); !errors.Is(err, ErrNotGo) {
			t.Errorf("/bin/true: %v", err)
		}
	}
	if _, err := Of("layout.go"); err == nil {
		t.Error("a text was taken for a binary")
	}
}
