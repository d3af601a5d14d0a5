package layout

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// Where a linker of C puts the thread's goroutine is read off the symbols, or off
// the code where these were stripped: both say the same.
func TestThreadsOfC(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil || runtime.GOARCH != "amd64" {
		t.Skip("no C compiler for amd64")
	}
	_, root := ownRoot(t)
	for _, flags := range [][2][]string{
		{nil, {"-ldflags=-s -w"}},
		{{"-buildmode=pie"}, {"-buildmode=pie", "-ldflags=-s -w"}},
		{{"-ldflags=-linkmode=external -extldflags=-static"}, {"-ldflags=-s -w -linkmode=external -extldflags=-static"}},
	} {
		var tls [2]int64
		for i := range flags {
			g, err := GoroutinesOf(build(t, root, "threads", "amd64", flags[i]...))
			if err != nil {
				t.Fatalf("%v: %v", flags[i], err)
			}
			tls[i] = g.TLS
		}
		if tls[0] != tls[1] || tls[0] >= -8 || tls[0]%8 != 0 {
			t.Errorf("%v: %d with symbols, %d without", flags[1], tls[0], tls[1])
		}
	}
}

func TestGoroutinesOf(t *testing.T) {
	version, root := ownRoot(t)
	for arch, tls := range map[string]int64{"amd64": -8, "arm64": 0} {
		exe := build(t, root, "service", arch, "-ldflags=-s -w")
		g, err := GoroutinesOf(exe)
		if err != nil {
			t.Fatal(err)
		}
		b := open(t, exe)
		want := Goroutines{TLS: tls, List: true}
		for to, field := range map[*uint32][2]string{&want.M: {"runtime.g", "m"}, &want.Curg: {"runtime.m", "curg"}, &want.Labels: {"runtime.g", "labels"}} {
			off, ok := b.Field(field[0], field[1])
			if !ok {
				t.Fatalf("no %v in %s", field, version)
			}
			*to = uint32(off)
		}
		if g != want {
			t.Errorf("%s: %+v, want %+v", arch, g, want)
		}
	}
	if _, err := GoroutinesOf("/bin/sh"); !errors.Is(err, ErrNotGo) && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("/bin/sh: %v", err)
	}
}
