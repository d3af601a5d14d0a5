// Package goroot makes the GOROOT that woven programs are built with: all of
// the user's Go by symbolic links, and beside it one real folder, src/guanlan,
// with our run-time part as packages of the standard library. Those can be
// imported by the standard library itself, by vendored packages and by packages
// of any module, and need no line in a go.mod.
//
// The sources come from an archive in this package, which gen writes. They are
// the SDK's own, with the modules that it needs, under new import paths, so a
// woven program runs the same code as one that uses the SDK.
package goroot

//go:generate go run ./gen

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	goversion "go/version"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// CacheVariable names the folder that Guanlan keeps things for builds in. Default:
// guanlan in the user's cache folder.
const CacheVariable = "GUANLAN_CACHE"

// Oldest is the oldest Go that compiles our packages.
const Oldest = "go1.24"

// Options of Make.
type Options struct {
	Goroot string // of the Go that builds, as `go env GOROOT` prints it; one that Make has made stands for the one that it was made of
	Cache  string // folder to make it in; made if it is not there
}

const (
	// format counts the changes of the folder's layout: a folder of another
	// format is not used.
	format = "1"

	// unused is how long a folder of another version of us or of Go is kept
	// without being used. Making it again costs some 50 ms.
	unused = 30 * 24 * time.Hour

	// abandoned is when a folder that is being made belongs to nobody any more.
	abandoned = 24 * time.Hour

	// touched is how old the time of last use may be, so that a build does not
	// write to the disk for it.
	touched = 24 * time.Hour

	making = "making-" // begins the name of a folder that is not whole
)

// sourceTime is the time of change of all our sources. The go command does not
// index folders that changed in the last two seconds, and would read them all
// in each build until it has.
var sourceTime = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// Make returns the folder of a GOROOT for o.Goroot that has our packages, and
// makes it if it is not there yet. The folder is to be used with GOROOT set to
// it and GOTOOLCHAIN=local, and read only; it stays there for later builds. Any
// number of processes may call Make at once.
func Make(ctx context.Context, o Options) (dir string, err error) {
	base, err := original(o.Goroot)
	if err != nil {
		return "", err
	}
	version, err := os.ReadFile(filepath.Join(base, "VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		version = []byte("devel") // a checkout of Go's repository
	} else if err != nil {
		return "", fmt.Errorf("read the version of Go: %w", err)
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(version)), "\n")
	if goversion.IsValid(name) && goversion.Compare(name, Oldest) < 0 {
		return "", fmt.Errorf("%s is %s, and Guanlan's packages need %s: build with a newer Go, for example with GOTOOLCHAIN=%[3]s.0", base, name, Oldest)
	}
	name = strings.Map(plain, name)
	if o.Cache == "" {
		return "", errors.New("BUG: no cache is given")
	}
	cache, err := filepath.Abs(o.Cache)
	if err != nil {
		return "", fmt.Errorf("find the cache %q: %w", o.Cache, err)
	}
	dir = filepath.Join(cache, fmt.Sprintf("goroot-%s-%s", name, identity(base, version)))
	if whole(dir, base) == nil {
		return dir, nil
	}
	if err := build(ctx, cache, dir, base); err != nil {
		if ctx.Err() != nil {
			return "", err
		}
		return "", fmt.Errorf("make a GOROOT with Guanlan's packages in %s: %w; set %s to a folder that can be written, on a disk with space", cache, err, CacheVariable)
	}
	sweep(cache, dir, base)
	return dir, nil
}

// original returns the absolute path of the GOROOT, and of the one that it was
// made of if Make has made it.
func original(goroot string) (string, error) {
	if goroot == "" {
		return "", errors.New("no GOROOT is given: see `go env GOROOT`")
	}
	base, err := filepath.Abs(goroot)
	if err != nil {
		return "", fmt.Errorf("find GOROOT %q: %w", goroot, err)
	}
	if m, err := readMarker(base); err == nil {
		base = m.base
	}
	if _, err := os.Stat(filepath.Join(base, "src", "runtime")); err != nil {
		return "", fmt.Errorf("%s is no GOROOT with sources: %w; install Go from https://go.dev/dl or set GOROOT", base, err)
	}
	return base, nil
}

// plain keeps what is safe in the name of a folder and in a list of paths.
func plain(r rune) rune {
	if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_", r)) {
		return r
	}
	return '_'
}

func identity(base string, version []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n", format, base, version)
	h.Write(compressed)
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// build makes the folder under another name and renames it, so that nobody sees
// half of it. If another process is faster, its folder is as good.
func build(ctx context.Context, cache, dir, base string) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(cache, making)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	made := filepath.Join(temp, "made")
	if err := fill(ctx, made, base); err != nil {
		return err
	}
	for range 3 {
		err = os.Rename(made, dir)
		if err == nil || whole(dir, base) == nil {
			return nil
		}
		// What stands there is damaged: out of the way with it.
		if moved := os.Rename(dir, filepath.Join(temp, "damaged")); moved != nil && !errors.Is(moved, fs.ErrNotExist) {
			return moved
		}
	}
	return err
}

// fill makes the folder itself; the marker comes last.
func fill(ctx context.Context, dir, base string) error {
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o755); err != nil {
		return err
	}
	m := marker{base: base}
	for _, at := range []string{".", "src"} {
		entries, err := os.ReadDir(filepath.Join(base, at))
		if err != nil {
			return fmt.Errorf("read GOROOT: %w", err)
		}
		for _, e := range entries {
			name := filepath.Join(at, e.Name())
			if name == "src" || name == ours {
				continue
			}
			if err := os.Symlink(filepath.Join(base, name), filepath.Join(dir, name)); err != nil {
				if runtime.GOOS == "windows" {
					return fmt.Errorf("%w (Windows lets users make links in Developer Mode: turn it on in its settings)", err)
				}
				return err
			}
			m.links = append(m.links, name)
		}
	}
	for _, f := range archive().runtime {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, f.text, 0o644); err != nil {
			return err
		}
		if err := os.Chtimes(name, sourceTime, sourceTime); err != nil {
			return err
		}
		m.files = append(m.files, sized{filepath.FromSlash(f.name), int64(len(f.text))})
	}
	return m.write(dir)
}

// sweep removes the folders for the same Go that have not been used for long, and
// what interrupted processes left. What it cannot remove stays.
func sweep(cache, dir, base string) {
	entries, err := os.ReadDir(cache)
	if err != nil {
		return
	}
	for _, e := range entries {
		name := filepath.Join(cache, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), making):
			if older(name, abandoned) {
				os.RemoveAll(name)
			}
		case strings.HasPrefix(e.Name(), "goroot-") && name != dir:
			if m, err := readMarker(name); err == nil && m.base == base && older(filepath.Join(name, markerName), unused) {
				// Without its marker it is not taken for whole, whatever is left of it.
				if os.Remove(filepath.Join(name, markerName)) == nil {
					os.RemoveAll(name)
				}
			}
		}
	}
}

func older(name string, than time.Duration) bool {
	info, err := os.Lstat(name)
	return err == nil && time.Since(info.ModTime()) > than
}
