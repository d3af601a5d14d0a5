package goroot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func makeOne(t *testing.T, o Options) string {
	t.Helper()
	dir, err := Make(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMakeTwiceIsMakeOnce(t *testing.T) {
	o := Options{Goroot: real(t), Cache: t.TempDir()}
	dir := makeOne(t, o)
	before, err := os.Stat(filepath.Join(dir, markerName))
	if err != nil {
		t.Fatal(err)
	}
	if again := makeOne(t, o); again != dir {
		t.Errorf("second is %s, first %s", again, dir)
	}
	if nested := makeOne(t, Options{Goroot: dir, Cache: o.Cache}); nested != dir {
		t.Errorf("made of itself it is %s, want %s", nested, dir)
	}
	after, err := os.Stat(filepath.Join(dir, markerName))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("made again: %v", err)
	}
	onlyEntry(t, o.Cache, dir)
}

// onlyEntry: what is made beside must be gone.
func onlyEntry(t *testing.T, cache, dir string) {
	t.Helper()
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 1 || filepath.Join(cache, entries[0].Name()) != dir {
		t.Errorf("cache has %v, error %v; want only %s", entries, err, dir)
	}
}

func TestMakeRepairs(t *testing.T) {
	o := Options{Goroot: real(t), Cache: t.TempDir()}
	for what, damage := range map[string]func(dir string) error{
		"without marker":      func(dir string) error { return os.Remove(filepath.Join(dir, markerName)) },
		"with half a marker":  func(dir string) error { return os.Truncate(filepath.Join(dir, markerName), 200) },
		"without a file":      func(dir string) error { return os.Remove(filepath.Join(dir, ours, "sdk", "start.go")) },
		"with an empty file":  func(dir string) error { return os.Truncate(filepath.Join(dir, ours, "sdk", "start.go"), 0) },
		"without a link":      func(dir string) error { return os.Remove(filepath.Join(dir, "src", "net")) },
		"with a link astray":  func(dir string) error { return relink(filepath.Join(dir, "bin"), dir) },
		"with a whole folder": func(dir string) error { return os.RemoveAll(filepath.Join(dir, ours)) },
	} {
		dir := makeOne(t, o)
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		if err := whole(dir, o.Goroot); err == nil {
			t.Errorf("%s it is taken for whole", what)
		}
		makeOne(t, o)
		if err := whole(dir, o.Goroot); err != nil {
			t.Errorf("%s it was not repaired: %v", what, err)
		}
		onlyEntry(t, o.Cache, dir)
	}
}

func relink(name, to string) error {
	return errors.Join(os.Remove(name), os.Symlink(to, name))
}

func TestMakeAtOnce(t *testing.T) {
	o := Options{Goroot: real(t), Cache: t.TempDir()}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			dir, err := Make(context.Background(), o)
			if err != nil {
				t.Error(err)
			} else if err := whole(dir, o.Goroot); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	onlyEntry(t, o.Cache, makeOne(t, o))
}

// A GOROOT whose Go was replaced in its place is another one.
func TestMakeForAnotherVersion(t *testing.T) {
	base := fakeGo(t, "go1.99.1\ntime 2030-01-01T00:00:00Z\n")
	o := Options{Goroot: base, Cache: t.TempDir()}
	first := makeOne(t, o)
	if got := filepath.Base(first); !strings.HasPrefix(got, "goroot-go1.99.1-") {
		t.Errorf("the folder is %s", got)
	}
	write(t, filepath.Join(base, "VERSION"), "go1.99.2\n")
	second := makeOne(t, o)
	if first == second {
		t.Error("another Go has the same folder")
	}
	write(t, filepath.Join(base, "src", "new", "new.go"), "package new\n")
	if err := whole(second, base); err == nil {
		t.Error("a new folder of Go's is not missed")
	}
	if makeOne(t, o) != second || whole(second, base) != nil {
		t.Error("not made again for a new folder of Go's")
	}
}

func fakeGo(t *testing.T, version string) string {
	t.Helper()
	base := t.TempDir()
	write(t, filepath.Join(base, "VERSION"), version)
	write(t, filepath.Join(base, "src", "runtime", "runtime.go"), "package runtime\n")
	return base
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestMakeSweeps(t *testing.T) {
	base := fakeGo(t, "go1.99.1")
	o := Options{Goroot: base, Cache: t.TempDir()}
	age := func(name string, by time.Duration) {
		t.Helper()
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(-by)); err != nil {
			t.Fatal(err)
		}
	}
	other := makeOne(t, Options{Goroot: fakeGo(t, "go1.99.1"), Cache: o.Cache})
	age(filepath.Join(other, markerName), 2*unused)
	old := makeOne(t, o)
	age(filepath.Join(old, markerName), unused+time.Hour)
	write(t, filepath.Join(base, "VERSION"), "go1.99.2")
	used := makeOne(t, o)
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the unused one is still there: %v", err)
	}
	dead, alive := filepath.Join(o.Cache, making+"1"), filepath.Join(o.Cache, making+"2")
	write(t, filepath.Join(dead, "made", "x"), "")
	write(t, filepath.Join(alive, "made", "x"), "")
	age(dead, abandoned+time.Hour)
	age(filepath.Join(used, markerName), unused-time.Hour)
	write(t, filepath.Join(base, "VERSION"), "go1.99.3")
	makeOne(t, o)
	for name, want := range map[string]bool{used: true, other: true, dead: false, alive: true} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: error %v, want it there: %v", filepath.Base(name), err, want)
		}
	}
	age(filepath.Join(used, markerName), unused-time.Hour)
	write(t, filepath.Join(base, "VERSION"), "go1.99.2")
	makeOne(t, o)
	if older(filepath.Join(used, markerName), time.Hour) {
		t.Error("use is not noted")
	}
}

func TestMakeTellsTheNextStep(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Goroot: real(t), Cache: file}, "set GUANLAN_CACHE"},
		{Options{Goroot: real(t), Cache: filepath.Join(file, "below")}, "set GUANLAN_CACHE"},
		{Options{Goroot: t.TempDir(), Cache: t.TempDir()}, "install Go"},
		{Options{Cache: t.TempDir()}, "go env GOROOT"},
		{Options{Goroot: fakeGo(t, "go1.23.12\n"), Cache: t.TempDir()}, "GOTOOLCHAIN=go1.24.0"},
	} {
		if _, err := Make(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Make(%+v): error %v, want one that says %q", c.o, err, c.want)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	cache := t.TempDir()
	if _, err := Make(stopped, Options{Goroot: real(t), Cache: cache}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: error %v", err)
	}
	if left, _ := os.ReadDir(cache); len(left) != 0 {
		t.Errorf("stopped, it left %v", left)
	}
}

func TestImport(t *testing.T) {
	for from, want := range map[string]string{
		"github.com/guanlan-io/guanlan/sdk":                  "guanlan/sdk",
		"github.com/guanlan-io/guanlan/sdk/core":             "guanlan/sdk/core",
		"github.com/guanlan-io/guanlan/sdk/internal/message": "guanlan/sdk/message",
		"go.opentelemetry.io/otel":                           "", // what is global in it nobody else in the program would see
		"go.opentelemetry.io/otel/trace":                     "guanlan/otel/trace",
		"github.com/cespare/xxhash/v2":                       "guanlan/x/xxhash",
		"github.com/guanlan-io/guanlan/sdk/zap":              "",
		"net/http":                                           "",
	} {
		if got, ok := Import(from); got != want || ok != (want != "") {
			t.Errorf("Import(%s) = %q, %v; want %q", from, got, ok, want)
		}
	}
}

func TestFold(t *testing.T) {
	for name, want := range map[string]string{
		"sdk/zap/internal/fields": `"go.uber.org/zap/zapcore"`,
		"sdk/grpc":                `"google.golang.org/grpc"`,
		"sdk/gin":                 `"github.com/gin-gonic/gin"`,
		"sdk/redis":               `"github.com/redis/go-redis/v9"`,
		"sdk/internal/message":    "package message",
		"sdk/internal/jsonlog":    "package jsonlog",
	} {
		var all strings.Builder
		for _, text := range Fold(name) {
			all.Write(text)
		}
		if !strings.Contains(all.String(), want) {
			t.Errorf("the sources of %s do not have %s", name, want)
		}
	}
	if got := Fold("sdk/none"); got != nil {
		t.Errorf("Fold of no package is %v", got)
	}
}
