package weave

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/guanlan-io/guanlan/internal/weave/goroot"
)

// CacheVariable names the folder that woven sources are kept in.
const CacheVariable = goroot.CacheVariable

// cacheDir is where everything that is made for builds lies. Nothing in it is
// needed: it may be deleted at any time between builds.
func cacheDir() (string, error) {
	dir := os.Getenv(CacheVariable)
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a folder for woven sources: %w: name one by %s", err, CacheVariable)
		}
		dir = filepath.Join(user, "guanlan")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the folder for woven sources: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder for woven sources: %w: name another one by %s", err, CacheVariable)
	}
	return dir, nil
}

// cache keeps woven sources. A file never changes once it has its name, so that
// builds may share it, also at the same time.
type cache struct{ dir string }

// keep stores a text under its hash.
func (c cache) keep(text, suffix string) (string, error) {
	sum := sha256.Sum256([]byte(text))
	name := filepath.Join(c.dir, "files", hex.EncodeToString(sum[:16])+suffix)
	if have, err := os.ReadFile(name); err == nil && string(have) == text {
		return name, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return "", fmt.Errorf("keep a woven source: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return "", fmt.Errorf("keep a woven source: %w", err)
	}
	_, err = tmp.WriteString(text)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return "", fmt.Errorf("keep a woven source: %w", err)
	}
	return name, nil
}

// module gives a copy of a module from Go's module cache, whose files the go
// command does not let anybody overlay. The copy is of hard links where the file
// system has them.
func (c cache) module(path, version, dir string) (string, error) {
	// A go.mod may not name a folder with an @ in it.
	name := filepath.Join(c.dir, "modules", filepath.FromSlash(path)+"-"+version)
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return "", fmt.Errorf("copy module %s: %w", path, err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(name), ".new-*")
	if err == nil {
		err = copyTree(dir, tmp)
	}
	if err == nil {
		err = os.Rename(tmp, name)
		if _, here := os.Stat(name); err != nil && here == nil {
			err = nil // another build was faster
		}
	}
	os.RemoveAll(tmp)
	if err != nil {
		return "", fmt.Errorf("copy module %s: %w", path, err)
	}
	return name, nil
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(name, from))
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case d.Name() == "go.mod" || d.Name() == "go.sum":
			// The go command may write to those of a module that it builds in.
		case os.Link(name, target) == nil:
			return nil
		}
		return copyFile(name, target)
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
