package weave

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
)

// The go command lets nobody overlay what lies in its module cache. So a module
// whose packages are woven is copied to a cache of ours, and a replace that only
// the build sees leads there.

// Folders of the cache. A program is built within its copy, where the go command
// may complete its go.mod; a library is used as it was published.
const (
	libraries = "modules"
	programs  = "programs"
)

// source is the module that the sources are of, where one replaces another.
func (m *pkgModule) source() *pkgModule {
	if m.Replace != nil {
		return m.Replace
	}
	return m
}

// copyName is the folder for the copy of a module. A version may be published
// twice, where no checksum database knows of it: the hash tells them apart.
func (c cache) copyName(in string, m *pkgModule) string {
	m = m.source()
	sum, err := os.ReadFile(strings.TrimSuffix(m.GoMod, ".mod") + ".ziphash")
	if err != nil { // a cache that others have filled
		sum = []byte(m.Dir)
	}
	hash := sha256.Sum256(sum)
	// A go.mod may not name a folder with an @ in it.
	return filepath.Join(c.dir, in, filepath.FromSlash(m.Path)+"-"+m.Version+"-"+hex.EncodeToString(hash[:4]))
}

// copy makes the copy of a module, unless it is there, with these folders of it
// as they should be. Its files are hard links where the file system has them.
func (c cache) copy(in string, m *pkgModule, folders []string) (string, error) {
	name := c.copyName(in, m)
	m = m.source()
	if sameModule(m, name, in == programs, folders) {
		return name, nil
	}
	temp, err := os.MkdirTemp(c.dir, "making-")
	if err != nil {
		return "", fmt.Errorf("copy module %s: %w", m.Path, err)
	}
	defer os.RemoveAll(temp)
	made := filepath.Join(temp, "made")
	if err = copyTree(m.Dir, made); err == nil {
		if _, none := os.Stat(filepath.Join(made, "go.mod")); none != nil { // published before there were modules
			err = copyFile(m.GoMod, filepath.Join(made, "go.mod"))
		}
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(name), 0o755)
	}
	for range 3 {
		if err != nil {
			break
		}
		if err = os.Rename(made, name); err == nil || sameModule(m, name, in == programs, folders) {
			return name, nil // by us, or by a build that was faster
		}
		// What stands there is damaged: out of the way with it.
		if moved := os.Rename(name, filepath.Join(temp, "damaged")); moved == nil || errors.Is(moved, fs.ErrNotExist) {
			err = nil
		}
	}
	return "", fmt.Errorf("copy module %s: %w", m.Path, err)
}

// sameModule reports whether a copy is like the module, as far as these folders
// go: caches are cleaned file by file, and edited.
func sameModule(m *pkgModule, dir string, completed bool, folders []string) bool {
	have, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	if !completed {
		want, err := os.ReadFile(filepath.Join(m.Dir, "go.mod"))
		if errors.Is(err, fs.ErrNotExist) {
			want, err = os.ReadFile(m.GoMod)
		}
		if err != nil || !bytes.Equal(have, want) {
			return false
		}
	}
	return !slices.ContainsFunc(folders, func(from string) bool {
		return !sameFolder(from, dir+strings.TrimPrefix(from, m.Dir))
	})
}

func sameFolder(from, to string) bool {
	want, err1 := filesOf(from)
	have, err2 := filesOf(to)
	return err1 == nil && err2 == nil && maps.EqualFunc(want, have, func(a, b fs.FileInfo) bool {
		return os.SameFile(a, b) || a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
	})
}

// filesOf are the files of a folder, but for those that a copy has for itself.
func filesOf(dir string) (map[string]fs.FileInfo, error) {
	entries, err := os.ReadDir(dir)
	all := map[string]fs.FileInfo{}
	for _, e := range entries {
		if e.IsDir() || ownOfCopy(e.Name()) {
			continue
		}
		if all[e.Name()], err = e.Info(); err != nil {
			return nil, err
		}
	}
	return all, err
}

// ownOfCopy reports whether a file is one that the go command may write to, in a
// module that it builds in.
func ownOfCopy(name string) bool { return name == "go.mod" || name == "go.sum" }

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(name, from))
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case !ownOfCopy(d.Name()) && os.Link(name, target) == nil:
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
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	return os.Chtimes(to, time.Time{}, info.ModTime())
}

// copyOf is where the files of a package are in the copy of its module, which is
// made for the packages that are woven in the end.
func (p *planner) copyOf(q *pkg) string {
	return p.cache.copyName(libraries, q.Module) + strings.TrimPrefix(q.Dir, q.Module.source().Dir)
}

// source is a file of a package as far as it is woven: name is where the build
// sees it, which may be in a copy that is not made yet.
func (p *planner) source(q *pkg, name string) (string, error) {
	if _, ok := p.replace[name]; ok {
		return p.read(name)
	}
	return p.read(filepath.Join(q.Dir, filepath.Base(name)))
}

// useCopies makes the copies, and has the build take them: by lines in a go.mod,
// or in a go.work, that only the build sees. Checksums are asked of modules that
// are downloaded, not of folders. A line is for the one version that is built: the
// requirements of others still count.
func (p *planner) useCopies(packages map[string]*pkg) error {
	if len(p.copies) == 0 {
		return nil
	}
	folders := map[string][]string{} // by module
	for _, q := range packages {
		if q.Module != nil && p.copies[q.Module.Path] != nil {
			folders[q.Module.Path] = append(folders[q.Module.Path], q.Dir)
		}
	}
	file := p.tool.work
	if file == "" {
		file = p.tool.mod
		if m, ok := p.flag("modfile"); ok {
			if file = m; !filepath.IsAbs(file) {
				file = filepath.Join(p.tool.dir, file)
			}
		}
	}
	text, err := p.read(file)
	if err != nil {
		return err
	}
	if text, err = replaceModules(file, text, p.tool.work != "", func(replace func(path, version, dir string) error) error {
		for _, at := range slices.Sorted(maps.Keys(p.copies)) {
			m := p.copies[at]
			dir, err := p.cache.copy(libraries, m, folders[at])
			if err != nil {
				return err
			}
			if err := replace(at, m.Version, dir); err != nil {
				return fmt.Errorf("edit %s: %w", file, err)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return p.put(file, text)
}

// replaceModules gives the text of a go.mod or go.work with the replacements that
// with makes.
func replaceModules(name, text string, work bool, with func(replace func(path, version, dir string) error) error) (string, error) {
	if work {
		f, err := modfile.ParseWork(name, []byte(text), nil)
		if err != nil {
			return "", fmt.Errorf("read go.work: %w", err)
		}
		err = with(func(path, version, dir string) error { return f.AddReplace(path, version, dir, "") })
		f.Cleanup()
		return string(modfile.Format(f.Syntax)), err
	}
	f, err := modfile.Parse(name, []byte(text), nil)
	if err != nil {
		return "", fmt.Errorf("read go.mod: %w", err)
	}
	if err := with(func(path, version, dir string) error { return f.AddReplace(path, version, dir, "") }); err != nil {
		return "", err
	}
	f.Cleanup()
	return string(modfile.Format(f.Syntax)), nil
}
